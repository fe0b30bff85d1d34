# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The training engine shared by all backends: batches to steps, saving, versions.

A backend supplies a function that builds its `PackedModel`; algorithms and workers see only `TrainEngine`. Must never
know how parameters are sharded.

    new --create_process_group--> joined --initialize--> ready --destroy--> gone
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from areal.api.alloc_mode import ParallelStrategy
from areal.api.cli_args import TrainEngineConfig
from areal.api.engine_api import LossFn, LossWeightFn, TrainEngine, Trajectory
from areal.api.io_struct import FinetuneSpec, SaveLoadMeta
from areal.engine.core import topology as topo
from areal.engine.core.accumulate import global_weight, micro_batch_weights
from areal.engine.core.background import BackgroundSaves
from areal.engine.core.model import Objective, PackedModel
from areal.engine.core.optim import OptimizerSet
from areal.engine.core.saving import load_sharded, save_hf, save_sharded, sharded_state
from areal.engine.core.topology import Topology
from areal.utils import stats_tracker
from areal.utils.data import (
    MicroBatchList,
    concat_batch,
    concat_padded_tensors,
    split_batch,
    split_padded_tensor_dict_into_mb_list,
)
from areal.utils.errors import ConfigError

BuildModel = Callable[[TrainEngineConfig, Topology], PackedModel]
Join = Callable[[ParallelStrategy | None], Topology]


@dataclass(frozen=True)
class _Ready:
    """An initialised engine: what `CoreTrainEngine` holds between `initialize` and `destroy`."""

    config: TrainEngineConfig
    topology: Topology
    model: PackedModel
    optimizers: OptimizerSet | None
    saves: BackgroundSaves

    @property
    def trainable(self) -> OptimizerSet:
        if self.optimizers is None:
            raise RuntimeError("expected an engine with an optimizer, got optimizer=None; set it in the configuration")
        return self.optimizers

    @property
    def temperature(self) -> float:
        return 1.0 if self.config.temperature is None else self.config.temperature

    def split(self, input_: Trajectory | list[Trajectory]) -> MicroBatchList:
        batch: dict[str, Any] = concat_padded_tensors(input_) if isinstance(input_, list) else input_
        spec = self.model.micro_batch_spec(self.config.mb_spec)
        mbs = split_padded_tensor_dict_into_mb_list(batch, spec, self.topology.data.group)
        check_positions(mbs, self.model.max_positions, self.topology)
        return mbs.to(self.topology.device)

    def run(
        self, input_: Trajectory | list[Trajectory], loss_fn: LossFn, loss_weight_fn: LossWeightFn
    ) -> tuple[Tensor, float, int]:
        """The objective of a batch, its weight, and the number of micro-batches; gradients if they are enabled."""
        mbs = self.split(input_)
        weights = micro_batch_weights(mbs, loss_weight_fn)
        total = global_weight(weights, self.topology)
        objective = Objective(
            micro_batches=mbs, loss_fn=loss_fn, weights=weights, total_weight=total, temperature=self.temperature
        )
        loss = self.topology.sum_over_data(self.model.forward_backward(objective))
        return loss, total, len(mbs)


class CoreTrainEngine(TrainEngine):
    """A `TrainEngine` over whatever model `build_model` makes on the ranks that `join` arranges."""

    def __init__(self, config: TrainEngineConfig, build_model: BuildModel, join: Join = topo.join) -> None:
        self.config = config
        self._build_model = build_model
        self._join = join
        self._topology: Topology | None = None
        self._state: _Ready | None = None
        self._version = 0

    def create_process_group(self, parallel_strategy: ParallelStrategy | None = None) -> None:
        """Join the process group of the torch rendezvous variables; without them, train alone."""
        self._topology = self._join(parallel_strategy)

    def initialize(self, addr: str | None, ft_spec: FinetuneSpec) -> None:
        """Build the model and, if the role is trained, its optimizer and LR schedule. `addr` is None: nothing to call."""
        if addr is not None:
            raise ConfigError(f"expected addr=None for a training engine, got {addr!r}")
        topology = _joined(self._topology)
        model = self._build_model(self.config, topology)
        optimizers = None
        if self.config.optimizer is not None:
            optimizers = OptimizerSet(
                self.config.optimizer,
                model.module,
                model.hidden_matrices,
                ft_spec.total_train_steps,
                model.clip_gradients,
            )
        self._state = _Ready(self.config, topology, model, optimizers, BackgroundSaves(topology))

    def destroy(self) -> None:
        """Release model and optimizer, and leave the process group if this engine made it. Idempotent."""
        if self._state is not None:
            self._state.saves.abandon()
        self._state = None
        if self._topology is not None:
            topo.leave(self._topology)
            self._topology = None

    @property
    def data_parallel_group(self) -> dist.ProcessGroup | None:
        """Group of the ranks with different data; None in a run of one process."""
        return _joined(self._topology).data.group

    @property
    def num_parameters(self) -> int:
        """Parameters of the whole model, shared ones counted once."""
        return self._ready.model.num_parameters

    def train_batch(
        self, input_: Trajectory | list[Trajectory], loss_fn: LossFn, loss_weight_fn: LossWeightFn
    ) -> dict[str, float]:
        """One optimizer step; see `areal.engine.core.accumulate` for the objective.

        `loss_fn` gets prediction-aligned log-probs and entropies `[T]` (the log-prob at the last token of a sequence is
        0 and has no gradient) and the packed micro-batch on this engine's device. Returns `update_successful` (0.0 when
        gradients were not finite and nothing was updated), `num_skipped_updates` so far, `grad_norm` before clipping,
        `lr`, `num_micro_batches`, `loss` and `loss_weight` over all ranks, and what the model's `finish_step` tells.
        """
        ready = self._ready
        optimizers = ready.trainable
        optimizers.zero_grad()
        loss, total_weight, num_micro_batches = ready.run(input_, loss_fn, loss_weight_fn)
        result = optimizers.step()
        found = ready.model.finish_step(result.successful)
        return {
            "update_successful": float(result.successful),
            "num_skipped_updates": float(optimizers.num_skipped),
            "grad_norm": result.grad_norm,
            "lr": result.lr,
            "num_micro_batches": float(num_micro_batches),
            "loss": float(loss),
            "loss_weight": total_weight,
            **found,
        }

    @torch.no_grad()
    def eval_batch(
        self, input_: Trajectory | list[Trajectory], loss_fn: LossFn, loss_weight_fn: LossWeightFn
    ) -> Tensor:
        """The objective of `train_batch` without gradients and dropout, over all ranks: a float64 scalar."""
        with _evaluating(self._ready.model):
            return self._ready.run(input_, loss_fn, loss_weight_fn)[0]

    @torch.no_grad()
    def forward_batch(self, input_: Trajectory | list[Trajectory]) -> Tensor | list[Tensor]:
        """Log-prob of the next token without dropout, prediction aligned: float32 `[B, L]` on the CPU, 0 where there is none.

        Of a critic: the value of each token.

        For a list of trajectories, one tensor each, in its own padded length.
        """
        if isinstance(input_, list):
            batch, meta = concat_batch(input_)
            return split_batch(self.forward_batch(batch), meta)
        ready = self._ready
        mbs = ready.split({key: input_[key] for key in ("input_ids", "attention_mask")})
        with _evaluating(ready.model):
            outputs = ready.model.forward(mbs, ready.temperature)
        return mbs.to_padded(outputs)

    def step_lr_scheduler(self) -> None:
        """Advance the learning-rate schedule by one training step."""
        self._ready.trainable.schedule.step()

    def train(self, mode: bool = True) -> None:
        """Put the model in training mode."""
        self._ready.model.module.train(mode)

    def save(self, meta: SaveLoadMeta) -> None:
        """Save atomically as `hf` (weights, configs, tokenizer) or `dcp` (sharded, continues a run exactly)."""
        ready = self._ready
        if meta.weight_format == "hf" and meta.with_optim:
            raise ConfigError("expected with_optim=False for weight_format=hf; use weight_format=dcp to resume from")
        ready.saves.finish()
        if meta.weight_format == "hf":
            if meta.in_background:
                ready.saves.save_hf(meta, ready.model)
            else:
                save_hf(meta, ready.model, ready.topology)
            return
        state = sharded_state(meta, ready.model, ready.optimizers, self._version, ready.topology)
        if meta.in_background:
            ready.saves.save_sharded(meta.path, state)
        else:
            save_sharded(meta.path, state, ready.topology)

    def finish_saves(self) -> None:
        """See `TrainEngine.finish_saves`."""
        self._ready.saves.finish()

    def load(self, meta: SaveLoadMeta) -> None:
        """Load what `save` wrote, also under another number of ranks; `dcp` with_optim also restores the version."""
        self._ready.saves.finish()
        if meta.weight_format == "hf":
            self._ready.model.load_hf(meta.path)
            return
        version = load_sharded(meta, self._ready.model, self._ready.optimizers, self._ready.topology)
        if version is not None:
            self._version = version

    def state_iter(self) -> Iterator[tuple[str, Tensor]]:
        """HF names with full CPU tensors in the compute dtype; collective. Leaving early is safe: the rest is gathered."""
        return self._ready.model.state_iter()

    def export_stats(self) -> dict[str, float]:
        """See `TrainEngine`."""
        return self._ready.model.merge_stats(stats_tracker.export_all(reduce_group=self.data_parallel_group))

    def set_version(self, version: int) -> None:
        """Label the current weights."""
        self._version = version

    def get_version(self) -> int:
        """Version of the current weights, initially 0."""
        return self._version

    @property
    def _ready(self) -> _Ready:
        if self._state is None:
            raise RuntimeError("expected initialize() before using the engine, or the engine was destroyed")
        return self._state


def check_positions(micro_batches: MicroBatchList, limit: int | None, topology: Topology) -> None:
    """`ConfigError` on all ranks when a sequence of any of them is longer than the model can place."""
    if limit is None:
        return
    longest = torch.tensor(micro_batches.max_seqlen, device=topology.device)
    if topology.data.group is not None:
        dist.all_reduce(longest, dist.ReduceOp.MAX, topology.data.group)
    if longest > limit:
        raise ConfigError(
            f"expected sequences of at most {limit} tokens (max_position_embeddings of the model), got one of "
            f"{int(longest)}; lower the dataset's max_length or max_new_tokens"
        )


def _joined(topology: Topology | None) -> Topology:
    if topology is None:
        raise RuntimeError("expected create_process_group() before anything else, or the engine was destroyed")
    return topology


@contextmanager
def _evaluating(model: PackedModel) -> Iterator[None]:
    """Evaluation mode (no dropout) for a while; the mode before is put back."""
    was_training = model.module.training
    model.module.eval()
    try:
        yield
    finally:
        model.module.train(was_training)
