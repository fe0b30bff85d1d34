# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Plain data that crosses module and process boundaries: requests, responses, versions, save and sync descriptions.

Everything here imports without torch. Engines, workflows, the rollout executor and trainers exchange these types.
"""

from __future__ import annotations

import array
import dataclasses
import math
import uuid
import zlib
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NewType

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from areal.api.cli_args import GenerationHyperparameters

Version = NewType("Version", int)
"""Number of optimizer updates behind a policy."""

StopReason = Literal["length", "stop", "tool_calls", "abort"]


class Outcome(str, Enum):
    """How an episode ended. Only `SCORED` episodes are trained on; the others are counted by kind."""

    SCORED = "scored"
    TRUNCATED = "truncated"
    REJECTED = "rejected"
    INFRA_ERROR = "infra_error"
    USER_ERROR = "user_error"


@dataclass(kw_only=True)
class ModelRequest:
    """One generation: prompt ids and sampling parameters (`gconfig.n_samples` must be 1)."""

    input_ids: list[int]
    gconfig: GenerationHyperparameters
    rid: str = field(default_factory=lambda: str(uuid.uuid4()))
    metadata: dict[str, Any] = field(default_factory=dict)
    tokenizer: PreTrainedTokenizerBase | None = None

    def copy(self) -> ModelRequest:
        """A copy whose lists and sampling parameters can be changed without touching this one."""
        return dataclasses.replace(
            self, input_ids=list(self.input_ids), gconfig=self.gconfig.new(), metadata=dict(self.metadata)
        )


@dataclass(kw_only=True)
class ModelResponse:
    """Tokens of one generation with the log-prob and the weight version of each.

    `output_logprobs` are in nats under the distribution sampled from; `latency`, `ttft` and `itl` are in seconds.
    """

    input_tokens: list[int]
    output_tokens: list[int]
    output_logprobs: list[float]
    output_versions: list[int]
    stop_reason: StopReason = "stop"
    tokenizer: PreTrainedTokenizerBase | None = None
    latency: float = math.inf
    ttft: float = math.inf
    itl: list[float] = field(default_factory=list)

    @property
    def input_len(self) -> int:
        """Number of prompt tokens."""
        return len(self.input_tokens)

    @property
    def output_len(self) -> int:
        """Number of generated tokens, the stop token included."""
        return len(self.output_tokens)

    @property
    def token_crc(self) -> int:
        """CRC-32 of prompt and output ids (int32, native order), as the server saw them: the *tokens* invariant."""
        return zlib.crc32(array.array("i", self.input_tokens + self.output_tokens))

    @property
    def truncated(self) -> bool:
        """Whether the length limit ended the generation."""
        return self.stop_reason == "length"


@dataclass(frozen=True)
class FinetuneSpec:
    """Size of a training run in samples; steps derive from it (incomplete last batches are dropped).

    `max_train_steps` ends a run before its last epoch does; LR schedules span the steps that are really done.
    """

    total_train_epochs: int
    dataset_size: int
    train_batch_size: int
    max_train_steps: int | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Training steps in one pass over the dataset."""
        return self.dataset_size // self.train_batch_size

    @property
    def total_train_steps(self) -> int:
        """Training steps of the whole run."""
        steps = self.total_train_epochs * self.steps_per_epoch
        return steps if self.max_train_steps is None else min(steps, self.max_train_steps)


@dataclass(frozen=True)
class StepInfo:
    """Position of a training step; all counts start at 0."""

    epoch: int
    epoch_step: int
    global_step: int
    steps_per_epoch: int

    def next(self) -> StepInfo:
        """The position one step later."""
        wraps = self.epoch_step == self.steps_per_epoch - 1
        return StepInfo(
            epoch=self.epoch + wraps,
            epoch_step=0 if wraps else self.epoch_step + 1,
            global_step=self.global_step + 1,
            steps_per_epoch=self.steps_per_epoch,
        )


@dataclass(frozen=True, kw_only=True)
class WeightUpdateMeta:
    """Where the weights of a version lie. `checksum` is the writer's, compared with each server's after loading."""

    path: str
    version: int
    type: Literal["disk"] = "disk"
    checksum: str | None = None

    def with_version(self, version: int) -> WeightUpdateMeta:
        """The same location scheme for another version: the last path component becomes `v{version}`."""
        if version < 0:
            raise ValueError(f"a weight version is >= 0, got {version}")
        return dataclasses.replace(
            self, version=version, path=str(Path(self.path).parent / f"v{version}"), checksum=None
        )


@dataclass(frozen=True, kw_only=True)
class SaveLoadMeta:
    """What to save or load: `hf` is a `from_pretrained` directory, `dcp` a sharded torch checkpoint."""

    path: str
    weight_format: Literal["hf", "dcp"]
    with_optim: bool = False
    tokenizer: PreTrainedTokenizerBase | None = None
    base_model_path: str | None = None
    in_background: bool = False
    """Return when the state is copied; `TrainEngine.finish_saves` waits until it is written."""


@dataclass
class RolloutStat:
    """Account of the rollout executor, in tasks (one task is one prompt with its group)."""

    accepted: int = 0
    enqueued: int = 0
    rejected: int = 0
    running: int = 0


@dataclass(frozen=True)
class ParamSpec:
    """Name, shape and dtype of one exported parameter."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class HttpRequest:
    """One HTTP call a backend wants made. `idempotent` says whether it may be repeated after a lost answer."""

    endpoint: str
    payload: dict[str, Any] = field(default_factory=dict)
    method: Literal["GET", "POST"] = "POST"
    idempotent: bool = False


@dataclass(frozen=True, kw_only=True)
class HttpGenerationResult:
    """A parsed generation answer: one segment of tokens with log-probs (nats) and the version of each token."""

    output_tokens: list[int]
    output_logprobs: list[float]
    output_versions: list[int]
    stop_reason: StopReason

    def __post_init__(self) -> None:
        lengths = (len(self.output_tokens), len(self.output_logprobs), len(self.output_versions))
        if len(set(lengths)) != 1:
            raise ValueError(f"a generation needs as many log-probs and versions as tokens, got {lengths}")
        for position, value in enumerate(self.output_logprobs):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"log-probs must be finite numbers, got {value!r} at output token {position}")
