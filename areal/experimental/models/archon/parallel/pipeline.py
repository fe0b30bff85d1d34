# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Pipeline parallelism: runs the micro-batches of a step through the stages that lie on different ranks.

`ArchonEngine` builds one `ScoringDecoder` a stage of this rank, parallelises each, and hands them over. Stages exchange hidden
states of one shape, so that all micro-batches of a step have one length (`pad_inputs`). The schedules are torch's.
Must never see a loss function's inputs: the engine's callback turns scores into losses on the last stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining.schedules import PipelineScheduleSingle, _ComputationType, get_schedule_class

from areal.experimental.models.archon.parallel.activation import allows_one_backward
from areal.experimental.models.archon.parallel.compile import is_compiled
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.scoring import ScoringDecoder
from areal.experimental.models.archon.parallel.stages import rank_of_stage, stages_of_rank
from areal.utils.errors import ConfigError

ScoreFn = Callable[[int, Tensor], Tensor]
"""From the position of a micro-batch and its scores to its loss; called on the rank of the last stage alone."""

_FORWARD_ACTIONS = tuple(_ComputationType.from_str(name) for name in ("UNSHARD", "RECV_F", "F", "SEND_F", "RESHARD"))
# Padding goes into sequences this long at most: attention costs the square of a length.
MAX_PAD_LENGTH = 128


@dataclass(frozen=True, kw_only=True)
class StageInputs:
    """What every stage knows of a micro-batch: tensors `[1, N]` of this context-parallel rank, boundaries of all tokens."""

    tokens: Tensor
    positions: Tensor
    labels: Tensor
    cu_seqlens: Tensor
    max_seqlen: int
    temperature: float = 1.0
    with_entropy: bool = True
    num_real: int | None = None
    """How many of the tokens are no padding; see `ScoringDecoder.forward`."""


def pad_inputs(inputs: StageInputs, length: int) -> StageInputs:
    """The micro-batch with dummy sequences of zeros behind it, `length` tokens in all; scores of the dummies mean nothing.

    Pad before slicing for context parallelism.
    """
    missing = length - inputs.tokens.shape[1]
    if missing < 0:
        raise ValueError(f"expected at most {length} tokens, got {inputs.tokens.shape[1]}")
    if missing == 0:
        return inputs
    lengths = [min(MAX_PAD_LENGTH, missing - start) for start in range(0, missing, MAX_PAD_LENGTH)]
    ends = torch.tensor(lengths).cumsum(0) + int(inputs.cu_seqlens[-1])
    positions = torch.cat([torch.arange(count) for count in lengths]).unsqueeze(0)
    return replace(
        inputs,
        tokens=torch.nn.functional.pad(inputs.tokens, (0, missing)),
        labels=torch.nn.functional.pad(inputs.labels, (0, missing)),
        positions=torch.cat((inputs.positions, positions.to(inputs.positions)), dim=1),
        cu_seqlens=torch.cat((inputs.cu_seqlens, ends.to(inputs.cu_seqlens))),
        max_seqlen=max(inputs.max_seqlen, *lengths),
    )


class PipelineRunner:
    """The stages of this rank under one schedule.

    `stages` are this rank's, in ascending order (`stages.stages_of_rank`), parallelised already. The groups, buffers and order of
    operations depend on the number and length of micro-batches and are kept until those change.
    """

    def __init__(
        self,
        stages: Sequence[ScoringDecoder],
        dims: ArchonParallelDims,
        schedule: str,
        num_stages: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        indices = stages_of_rank(dims.local_rank("pp"), dims.pp, num_stages, schedule)
        if len(indices) != len(stages):
            raise ConfigError(f"expected {len(indices)} stages on this rank for {num_stages} in all, got {len(stages)}")
        if "ZeroBubble" in schedule:
            _check_split_backwards(stages, schedule)
        self.models = dict(zip(indices, stages, strict=True))
        self.last_rank = rank_of_stage(num_stages - 1, dims.pp, num_stages, schedule)
        self._dims = dims
        self._schedule_name, self._num_stages = schedule, num_stages
        self._dtype, self._device = dtype, device
        self._plans: dict[bool, _Plan] = {}  # by whether it has backwards
        self._score_fn: ScoreFn | None = None

    @property
    def has_last_stage(self) -> bool:
        """Whether this rank computes scores and losses."""
        return self._num_stages - 1 in self.models

    def num_micro_batches(self, at_least: int) -> int:
        """The smallest number of micro-batches the schedule takes, not less than `at_least`; make up for it with dummies."""
        if self._schedule_name == "1F1B":
            return max(at_least, self._num_stages)
        if self._schedule_name == "ZBVZeroBubble":
            return at_least
        pp = self._dims.pp
        return at_least if at_least <= pp else -(-at_least // pp) * pp

    def run(self, micro_batches: Sequence[StageInputs], score_fn: ScoreFn, has_backward: bool) -> list[Tensor]:
        """Run a step forward, and backward if asked; all ranks of the pipeline call it with the same micro-batches.

        Gradients are added up over micro-batches and reduced over data-parallel ranks at the end. Without backward, call it
        under `torch.no_grad`. No scores are kept: the callback takes what it needs.

        Returns:
            the losses of the micro-batches on the rank of the last stage, else an empty list.
        """
        lengths = {inputs.tokens.shape[1] for inputs in micro_batches}
        if len(lengths) != 1:
            raise ValueError(f"expected micro-batches of one length in a pipeline, got {sorted(lengths)}; pad them")
        needed = self.num_micro_batches(len(micro_batches))
        if needed != len(micro_batches):
            raise ValueError(
                f"expected {needed} micro-batches with {self._schedule_name} and {self._num_stages} stages, got "
                f"{len(micro_batches)}; add dummy micro-batches"
            )
        shape = _Shape(len(micro_batches), lengths.pop(), 2 if micro_batches[0].with_entropy else 1)
        plan = self._plans.get(has_backward)
        if plan is None or plan.shape != shape:
            plan = self._plans[has_backward] = self._plan(shape, has_backward)
        self._score_fn = score_fn
        losses: list[Tensor] = []
        plan.run(micro_batches, losses, has_backward)
        self._score_fn = None
        return [loss.detach() for loss in losses]

    def _loss(self, scores: Tensor, position: int) -> Tensor:
        assert self._score_fn is not None, "called within run"
        return self._score_fn(position, scores)

    def _plan(self, shape: _Shape, has_backward: bool) -> _Plan:
        if shape.length % self._dims.tp:
            raise ValueError(
                f"expected a number of tokens divisible by tp = {self._dims.tp}, got {shape.length}; pad the micro-batches"
            )
        stages = [self._stage(index, model, shape) for index, model in self.models.items()]
        cls = get_schedule_class(self._schedule_name)
        is_single = issubclass(cls, PipelineScheduleSingle)
        schedule = cls(
            stages[0] if is_single else stages, shape.num_micro_batches, loss_fn=self._loss, scale_grads=False
        )
        schedule._has_backward = has_backward
        if not has_backward and not is_single:
            _drop_backwards(schedule)
        return _Plan(shape, stages, schedule)

    def _stage(self, index: int, model: ScoringDecoder, shape: _Shape) -> PipelineStage:
        length = shape.length
        rows = length // self._dims.tp
        num_scores = 1 if model.args.is_critic else shape.num_scores
        hidden = torch.empty(1, rows, model.args.hidden_size, dtype=self._dtype, device="meta", requires_grad=True)
        scores = torch.empty(1, length, num_scores, dtype=torch.float32, device="meta", requires_grad=True)
        tokens = torch.empty(1, length, dtype=torch.int64, device="meta")
        return PipelineStage(
            model,
            index,
            self._num_stages,
            self._device,
            input_args=tokens if index == 0 else hidden,
            output_args=scores if index == self._num_stages - 1 else hidden,
            group=self._dims.get_group("pp"),
        )


class _Shape(NamedTuple):
    """What the buffers of a plan depend on."""

    num_micro_batches: int
    length: int
    num_scores: int


@dataclass(frozen=True)
class _Plan:
    """Stages and schedule for micro-batches of one shape."""

    shape: _Shape
    stages: list[PipelineStage]
    schedule: Any

    def run(self, micro_batches: Sequence[StageInputs], losses: list[Tensor], has_backward: bool) -> None:
        """The body of torch's `schedule.step`, which itself cuts stacked tensors into micro-batches: packed ones differ in
        their numbers of sequences, and come cut."""
        for stage in self.stages:
            stage.has_backward = has_backward
            stage.clear_runtime_states()
        has_first = any(stage.is_first for stage in self.stages)
        arguments = [(inputs.tokens,) if has_first else () for inputs in micro_batches]
        keywords = [_keywords(inputs) for inputs in micro_batches]
        targets = list(range(len(micro_batches)))
        self.schedule._step_microbatches(arguments, keywords, targets, losses, return_outputs=False)


def _check_split_backwards(stages: Sequence[ScoringDecoder], schedule: str) -> None:
    """Zero-bubble schedules run a backward for inputs, and later one for weights."""
    if any(is_compiled(model) for model in stages):
        raise ConfigError(f"expected no compilation with {schedule}, which splits backwards, got it; disable it")
    if any(allows_one_backward(model) for model in stages):
        raise ConfigError(
            f"expected activation checkpointing none or full with {schedule}, which runs two backwards, got selective 'op'"
        )


def _drop_backwards(schedule: Any) -> None:
    """Leave the forward part of a schedule: torch's own evaluation fails where a rank has adjacent stages (ZBV)."""
    schedule.pipeline_order_with_comms = {
        rank: [action for action in actions if action.computation_type in _FORWARD_ACTIONS]
        for rank, actions in schedule.pipeline_order_with_comms.items()
    }


def _keywords(inputs: StageInputs) -> dict[str, Any]:
    return {
        "positions": inputs.positions,
        "cu_seqlens": inputs.cu_seqlens,
        "max_seqlen": inputs.max_seqlen,
        "labels": inputs.labels,
        "temperature": inputs.temperature,
        "with_entropy": inputs.with_entropy,
        "num_real": inputs.num_real,
    }
