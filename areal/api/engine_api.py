# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Contracts of training engines, inference engines and inference back-ends.

Trainers and workflows see only these; `areal.engine` and `areal.infra` implement them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from areal.api.io_struct import (
    FinetuneSpec,
    HttpGenerationResult,
    HttpRequest,
    ModelRequest,
    ModelResponse,
    SaveLoadMeta,
    WeightUpdateMeta,
)

if TYPE_CHECKING:
    import torch.distributed as dist
    from torch import Tensor

    from areal.api.alloc_mode import ParallelStrategy
    from areal.api.workflow_api import WorkflowLike

Trajectory = dict[str, "Tensor"]
LossFn = Callable[["Tensor", "Tensor", dict[str, Any]], "Tensor"]
"""`loss_fn(logprobs [T], entropy [T], micro_batch) -> scalar`: the mean over the micro-batch's own weight."""
LossWeightFn = Callable[[dict[str, Any]], "Tensor"]
"""`loss_weight_fn(micro_batch) -> scalar`: the weight (usually the count of trained tokens) of the micro-batch."""
AcceptFn = Callable[[Trajectory], bool]


class SampleStream(Protocol):
    """Dataset items in a reproducible order, with a record of which ones were trained on."""

    batch_size: int

    def next_sample(self) -> tuple[int, dict[str, Any]]:
        """The next item that was never handed out, with its global index (counted over epochs)."""
        ...

    def mark_consumed(self, indices: Sequence[int]) -> None:
        """Record items that were trained on or rejected: a resumed run never sees them again."""
        ...


class TrainEngine(ABC):
    """A model with its optimizer, on one rank of a process group.

    Life cycle: construct, `create_process_group`, `initialize`, any number of batches, `destroy`.
    """

    @abstractmethod
    def create_process_group(self, parallel_strategy: ParallelStrategy | None = None) -> None:
        """Join the process group described by the torch rendezvous variables; without them, one process alone."""

    @abstractmethod
    def initialize(self, addr: str | None, ft_spec: FinetuneSpec) -> None:
        """Build the model, shard it, create optimizer and LR schedule."""

    @abstractmethod
    def destroy(self) -> None:
        """Release the model and leave the process group. Idempotent."""

    @property
    @abstractmethod
    def data_parallel_group(self) -> dist.ProcessGroup | None:
        """Group over which batches are split; None in a run of one process."""

    @property
    def data_parallel_rank(self) -> int:
        """Rank in the data-parallel group."""
        group = self.data_parallel_group
        return 0 if group is None else group.rank()

    @property
    def data_parallel_world_size(self) -> int:
        """Number of data-parallel ranks."""
        group = self.data_parallel_group
        return 1 if group is None else group.size()

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """Parameters of the whole model, shared ones counted once."""

    @abstractmethod
    def train_batch(
        self, input_: Trajectory | list[Trajectory], loss_fn: LossFn, loss_weight_fn: LossWeightFn
    ) -> dict[str, float]:
        """One optimizer step on the exact weighted mean of `loss_fn` over all micro-batches and ranks.

        Returns `update_successful`, `grad_norm`, `lr`, `num_micro_batches`, `loss` and `loss_weight` (the global weight).
        """

    @abstractmethod
    def eval_batch(
        self, input_: Trajectory | list[Trajectory], loss_fn: LossFn, loss_weight_fn: LossWeightFn
    ) -> Tensor:
        """The same mean without gradients, reduced over ranks: a scalar."""

    @abstractmethod
    def forward_batch(self, input_: Trajectory | list[Trajectory]) -> Tensor | list[Tensor]:
        """Log-probs of the next token, prediction aligned `[B, L]` float32 (one tensor per list item for a list)."""

    @abstractmethod
    def step_lr_scheduler(self) -> None:
        """Advance the learning-rate schedule by one training step."""

    @abstractmethod
    def train(self, mode: bool = True) -> None:
        """Put the model in training mode (activation checkpointing depends on it)."""

    def eval(self) -> None:
        """Put the model in evaluation mode."""
        self.train(False)

    @abstractmethod
    def save(self, meta: SaveLoadMeta) -> None:
        """Save atomically: a reader sees the whole checkpoint or none of it. Waits for a save in the background first."""

    @abstractmethod
    def finish_saves(self) -> None:
        """Wait for a save in the background; `CheckpointError` on every rank if it failed on any. Collective."""

    @abstractmethod
    def load(self, meta: SaveLoadMeta) -> None:
        """Load what `save` wrote, also under another number of ranks."""

    @abstractmethod
    def state_iter(self) -> Iterator[tuple[str, Tensor]]:
        """HF names with full CPU tensors in the compute dtype, in a fixed order; collective, every rank iterates."""

    @abstractmethod
    def export_stats(self) -> dict[str, float]:
        """Statistics that all ranks recorded since the last call, reduced over the data and equal on all ranks."""

    @abstractmethod
    def set_version(self, version: int) -> None:
        """Label the current weights."""

    @abstractmethod
    def get_version(self) -> int:
        """Version of the current weights, initially 0."""


class InferenceEngine(ABC):
    """Generates from the current policy and runs workflows on it without blocking the caller."""

    @abstractmethod
    async def agenerate(self, req: ModelRequest) -> ModelResponse:
        """Generate one completion; every token carries the version that made it."""

    @abstractmethod
    def submit(
        self,
        data: dict[str, Any],
        workflow: WorkflowLike,
        workflow_kwargs: dict[str, Any] | None = None,
        should_accept_fn: AcceptFn | str | None = None,
        group_size: int = 1,
    ) -> int:
        """Enqueue one item and return its task id; never blocks."""

    @abstractmethod
    def wait(self, count: int, timeout: float | None = None) -> list[Trajectory | None]:
        """Block until `count` submitted tasks ended; None stands for a task that yields nothing to train on."""

    @abstractmethod
    def rollout_batch(
        self,
        data: list[dict[str, Any]],
        workflow: WorkflowLike,
        workflow_kwargs: dict[str, Any] | None = None,
        group_size: int = 1,
        drop_incomplete_group: bool = False,
    ) -> list[Trajectory]:
        """Run all items to their end and return the accepted trajectories."""

    @abstractmethod
    def prepare_batch(
        self,
        dataloader: SampleStream,
        workflow: WorkflowLike,
        workflow_kwargs: dict[str, Any] | None = None,
        should_accept_fn: AcceptFn | str | None = None,
        group_size: int = 1,
        dynamic_bs: bool = False,
        drop_incomplete_group: bool = False,
    ) -> list[Trajectory]:
        """The next training batch; keeps as many tasks in flight as the staleness bound allows."""

    @abstractmethod
    def update_weights_from_disk(self, meta: WeightUpdateMeta) -> Future[None]:
        """Freeze every server, load `meta.path`, label the version, thaw."""

    @abstractmethod
    def pause(self) -> None:
        """Start no more tasks; running ones go on and are harvested."""

    @abstractmethod
    def resume(self) -> None:
        """Undo `pause`."""

    @abstractmethod
    def set_version(self, version: int) -> None:
        """Tell the staleness account which policy version is current."""

    @abstractmethod
    def get_version(self) -> int:
        """Version of the policy that generates."""


class RemoteInfBackendProtocol(Protocol):
    """Pure translation between areal's types and one server's HTTP API; holds no connection and no state."""

    def build_generation_request(self, req: ModelRequest, max_new_tokens: int, rng_offset: int) -> HttpRequest:
        """The request for (the rest of) one generation; `rng_offset` tokens of it exist already."""
        ...

    def parse_generation_response(self, body: dict[str, Any]) -> HttpGenerationResult:
        """The tokens of one segment."""
        ...

    def build_load_weights_requests(self, meta: WeightUpdateMeta) -> list[HttpRequest]:
        """Load a version from disk and label it; safe to repeat for the same version."""
        ...

    def parse_checksum(self, body: dict[str, Any]) -> str | None:
        """Checksum of the loaded weights, where the server reports one."""
        ...

    def pause_request(self, mode: str) -> HttpRequest:
        """Freeze generation: `keep` holds live sequences, `abort` returns them unfinished."""
        ...

    def resume_request(self) -> HttpRequest:
        """Thaw generation."""
        ...

    def health_request(self) -> HttpRequest:
        """A cheap liveness probe."""
        ...
