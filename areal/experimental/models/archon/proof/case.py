# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""One config under proof: its random HF model, that model's checkpoint, and our model loaded from it; each made once.

Used by the checks. Dimensions: N tokens of all sequences, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.model_spec import ModelSpec
from areal.experimental.models.archon.proof import oracle
from areal.experimental.models.archon.weights.adapter import StateDictAdapter

LENGTHS = (24, 1, 13)
"""Packed sequences: longer than tiny windows, shorter than a convolution, and neither."""
_NUM_SPECIAL_TOKENS = 4


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """Outcome of one check on one config. measured, limit: the number it was decided by, where there is one."""

    name: str
    config: str
    passed: bool
    measured: float | None = None
    limit: float | None = None
    detail: str = ""

    def __str__(self) -> str:
        numbers = "" if self.measured is None else f" {self.measured:.1e} (limit {self.limit:.0e})"
        return f"{'ok' if self.passed else 'FAILED'} {self.config} {self.name}{numbers} {self.detail}".rstrip()


class Case:
    """A spec, an HF config that it should run, and a folder of its own for checkpoints."""

    def __init__(
        self, spec: ModelSpec, config: PreTrainedConfig, folder: Path, *, seed: int = 0, label: str = ""
    ) -> None:
        self.spec, self.config, self.folder, self.seed = spec, config, folder, seed
        self.label = label or config.model_type

    @cached_property
    def hf_model(self) -> PreTrainedModel:
        """The oracle."""
        return oracle.steady_hf_model(self.config, self.sequences, self.loss, self.seed)

    @cached_property
    def checkpoint(self) -> dict[str, Tensor]:
        """The oracle's weights as `save_pretrained` writes them."""
        return oracle.save(self.hf_model, self.folder / "hf")

    @cached_property
    def args(self) -> DecoderArgs:
        """Our arguments of the config."""
        return self.spec.model_args_class.from_hf_config(self.config)  # type: ignore[attr-defined]

    @cached_property
    def adapter(self) -> StateDictAdapter:
        """The family's adapter."""
        return self.spec.state_dict_adapter_class(self.args)

    @cached_property
    def model(self) -> ArchonModel:
        """Our model with the checkpoint's weights."""
        return self.build(self.args, self.adapter.from_hf(self.checkpoint))

    def build(self, args: DecoderArgs, state: dict[str, Tensor]) -> ArchonModel:
        """A model of these arguments with these weights, all of them."""
        with torch.device("meta"):
            model = self.spec.model_class(args)
        model.load_state_dict(state, assign=True, strict=True)
        return model

    @cached_property
    def sequences(self) -> list[Tensor]:
        """Random tokens; ids below those of special tokens are avoided."""
        generator = torch.Generator().manual_seed(self.seed)
        vocab = self.config.get_text_config().vocab_size
        return [torch.randint(_NUM_SPECIAL_TOKENS, vocab, (length,), generator=generator) for length in LENGTHS]

    @cached_property
    def loss_weights_N(self) -> Tensor:  # noqa: N802 - a tensor
        """Random weights of the tokens' log-probs in the loss."""
        return torch.randn(sum(LENGTHS), generator=torch.Generator().manual_seed(self.seed + 1))

    def run(self, model: ArchonModel) -> Tensor:
        """Logits `[N, V]` of the packed sequences."""
        tokens = torch.cat(self.sequences)[None]
        positions = torch.cat([torch.arange(len(s)) for s in self.sequences])[None]
        ends = torch.tensor([0, *LENGTHS]).cumsum(0).int()
        return model(tokens, positions, ends, max(LENGTHS))[0]

    @cached_property
    def hf_logits(self) -> Tensor:
        """The oracle's logits, sequence by sequence."""
        with torch.no_grad():
            return oracle.logits_of(self.hf_model, self.sequences)

    def loss(self, logits_NV: Tensor) -> Tensor:
        """Σ weight · log p(next token), where the last token of the batch is followed by the first."""
        labels_N = torch.cat(self.sequences).roll(-1)
        logp_N = logits_NV.log_softmax(dim=-1).gather(-1, labels_N[:, None]).squeeze(-1)
        return (logp_N * self.loss_weights_N).sum()
