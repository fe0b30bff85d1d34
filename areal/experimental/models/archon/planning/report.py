# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The plan of a training role: what each pipeline rank holds, keeps and sends, as data and as text.

Called by `areal plan`. Ranks of one pipeline stage hold the same up to the rounding of uneven shards; the first of each is
counted. Must never need the hardware that it plans for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from areal.experimental.models.archon.model import ModelPart
from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.fsdp import ReshardPolicy, defers_reduction, reshards_after_forward
from areal.experimental.models.archon.parallel.stages import (
    STAGES_PER_RANK,
    V_SCHEDULES,
    count_stages,
    model_parts,
    rank_of_stage,
    stages_of_rank,
)
from areal.experimental.models.archon.parallel.validate import check_layout
from areal.experimental.models.archon.planning.activations import layer_activations
from areal.experimental.models.archon.planning.collectives import (
    CheckpointMode,
    Collective,
    PlannedBlock,
    StepShape,
    step_collectives,
)
from areal.experimental.models.archon.planning.parameters import RankParameters, count_parameters, rank_parameters

_SELECTIVE_SHARE = 0.5
"""Selective checkpointing keeps every second matrix product and all attention outputs: about half of what a block keeps."""
_LOGIT_COPIES = 3  # a chunk of logits in fp32, its softmax, and the gradient
_ADAM_MOMENTS = 2
_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class PlanInputs:
    """What the plan depends on besides model and layout. Bytes are of one element; `num_tokens` of one micro-batch.

    checkpoint_every: of which blocks a stage recomputes what `checkpointing` says: every N-th. kept_share: of what a block
    would keep, the part that selective checkpointing keeps. offloads: whether parameters, gradients and optimizer state are
    in host memory.
    """

    num_tokens: int
    num_micro_batches: int
    compute_bytes: int = 2
    master_bytes: int = 4
    num_moments: int = _ADAM_MOMENTS
    logits_chunk: int = 1024
    reduce_bytes: int = 4
    checkpointing: CheckpointMode = "none"
    checkpoint_every: int = 1
    kept_share: float = _SELECTIVE_SHARE
    offloads: bool = False
    reshard_policy: ReshardPolicy = "default"
    pp_schedule: str = "1F1B"
    pp_layers_per_stage: int | None = None
    pp_less_layers: tuple[int, int] = (1, 1)


@dataclass(frozen=True, kw_only=True)
class RankPlan:
    """One pipeline rank; sizes in bytes. host_bytes: of weights, gradients and optimizer state, those in host memory."""

    pp_rank: int
    layers: tuple[int, ...]
    parameters: RankParameters
    weights_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    gathered_bytes: int
    activations_bytes: int
    logits_bytes: int
    host_bytes: int
    collectives: tuple[Collective, ...]

    @property
    def total_bytes(self) -> int:
        """All of it on the device at the worst moment of a step."""
        held = self.weights_bytes + self.gradients_bytes + self.optimizer_bytes - self.host_bytes
        return held + self.gathered_bytes + self.activations_bytes + self.logits_bytes


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A layout that fits together, and what it costs."""

    layout: str
    world_size: int
    total_parameters: int
    ranks: tuple[RankPlan, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data, with the totals."""
        return {**asdict(self), "total_bytes": [rank.total_bytes for rank in self.ranks]}


def make_plan(args: DecoderArgs, dims: ArchonParallelDims, inputs: PlanInputs, layout: str) -> Plan:
    """The plan of a layout; `ConfigError` naming the first constraint it breaks, with both numbers."""
    check_layout(args, dims)
    if inputs.num_tokens % dims.seq_len_divisor:
        padded = -(-inputs.num_tokens // dims.seq_len_divisor) * dims.seq_len_divisor
        inputs = PlanInputs(**{**asdict(inputs), "num_tokens": padded})  # as the engine pads
    ranks = tuple(_rank_plan(args, dims, inputs, rank) for rank in _pipeline_ranks(args, dims, inputs))
    return Plan(
        layout=layout,
        world_size=dims.world_size,
        total_parameters=count_parameters(args),
        ranks=ranks,
    )


@dataclass(frozen=True)
class _PipelineRank:
    """A rank of the pipeline, its parts of the model, and how many stages of others its own send to, forward and backward."""

    rank: int
    parts: tuple[ModelPart, ...]
    num_sends: int


def _pipeline_ranks(args: DecoderArgs, dims: ArchonParallelDims, inputs: PlanInputs) -> list[_PipelineRank]:
    if dims.pp == 1:
        return [_PipelineRank(0, (ModelPart.whole(args),), 0)]
    schedule = inputs.pp_schedule
    num_stages = count_stages(args.num_layers, dims.pp, schedule, inputs.pp_layers_per_stage)
    parts = model_parts(args, num_stages, schedule, inputs.pp_less_layers)
    ranks = []
    for rank in range(dims.pp):
        own = stages_of_rank(rank, dims.pp, num_stages, schedule)
        others = [other for stage in own for other in (stage - 1, stage + 1) if 0 <= other < num_stages]
        sends = sum(rank_of_stage(other, dims.pp, num_stages, schedule) != rank for other in others)
        ranks.append(_PipelineRank(rank, tuple(parts[stage] for stage in own), sends))
    return ranks


def _rank_plan(args: DecoderArgs, dims: ArchonParallelDims, inputs: PlanInputs, where: _PipelineRank) -> RankPlan:
    parts = where.parts
    held = rank_parameters(args, dims, where.rank * dims.world_size // dims.pp, parts)
    reshards = reshards_after_forward(inputs.reshard_policy, dims.pp_enabled)
    reduces_once = dims.pp_enabled or defers_reduction(held.total, inputs.offloads)
    step = StepShape(
        num_micro_batches=inputs.num_micro_batches,
        num_tokens=inputs.num_tokens,
        compute_bytes=inputs.compute_bytes,
        reduce_bytes=inputs.reduce_bytes,
        reshards=reshards,
        reduces_once=reduces_once,
        logits_chunk=inputs.logits_chunk,
        has_embedding=any(part.has_embedding for part in parts),
        has_head=any(part.has_head for part in parts),
        num_sends=where.num_sends,
        grad_bytes=inputs.master_bytes,
    )
    modes = _checkpointing_by_layer(parts, inputs)
    blocks = [PlannedBlock(args.layers[layer], mode) for layer, mode in modes.items()]
    weights = held.local * inputs.master_bytes
    gradients = weights + _unreduced(dims, held, inputs, reduces_once)
    optimizer = weights * inputs.num_moments
    return RankPlan(
        pp_rank=where.rank,
        layers=tuple(modes),
        parameters=held,
        weights_bytes=weights,
        gradients_bytes=gradients,
        optimizer_bytes=optimizer,
        gathered_bytes=_gathered(dims, held, inputs, reshards),
        activations_bytes=_activations(args, dims, inputs, modes, where.rank),
        logits_bytes=_logits(args, dims, inputs) if step.has_head else 0,
        host_bytes=2 * weights + optimizer if inputs.offloads else 0,
        collectives=tuple(step_collectives(args, blocks, dims, held, step)),
    )


def _checkpointing_by_layer(parts: Sequence[ModelPart], inputs: PlanInputs) -> dict[int, CheckpointMode]:
    """The layers of a rank, and what of each is recomputed; every N-th is counted within its stage, as the engine does."""
    return {
        layer: inputs.checkpointing if count % inputs.checkpoint_every == 0 else "none"
        for part in parts
        for count, layer in enumerate(range(part.first_layer, part.last_layer), start=1)
    }


def _unreduced(dims: ArchonParallelDims, held: RankParameters, inputs: PlanInputs, reduces_once: bool) -> int:
    """Whole gradients that wait for the last micro-batch of the step."""
    waits = reduces_once and inputs.num_micro_batches > 1 and (dims.fsdp > 1 or dims.expert_fsdp > 1)
    return held.gathered * inputs.reduce_bytes if waits else 0


def _gathered(dims: ArchonParallelDims, held: RankParameters, inputs: PlanInputs, reshards: bool) -> int:
    """Parameters that FSDP has gathered at once: two units (one is prefetched) and the root, or all of them; one gradient."""
    if dims.fsdp == 1 and dims.expert_fsdp == 1 and inputs.compute_bytes == inputs.master_bytes:
        return 0
    blocks = min(2 * held.largest_unit, held.gathered - held.root) if reshards else held.gathered - held.root
    return (blocks + held.root) * inputs.compute_bytes + held.largest_unit * inputs.compute_bytes


def _activations(
    args: DecoderArgs,
    dims: ArchonParallelDims,
    inputs: PlanInputs,
    modes: Mapping[int, CheckpointMode],
    pp_rank: int,
) -> int:
    """Of all micro-batches that are in flight on the rank, plus the block that is being recomputed."""
    kept, recomputed = 0, 0
    for layer, mode in modes.items():
        block = layer_activations(args, layer, inputs.num_tokens, dims)
        if mode == "none":
            kept += block.kept
            continue
        kept += block.block_input + (int(inputs.kept_share * block.kept) if mode == "selective" else 0)
        recomputed = max(recomputed, block.kept)
    return int(kept * _in_flight(dims, inputs, pp_rank) + recomputed) * inputs.compute_bytes


def _in_flight(dims: ArchonParallelDims, inputs: PlanInputs, pp_rank: int) -> float:
    """How many micro-batches wait for their backward at once, where each stage of the rank counts for its share.

    1F1B: the forwards that warm up the stages behind. Interleaved: Narayanan et al. 2021, section 2.2, as torch orders it.
    V schedules: as many as 1F1B's first rank, on every rank (Qi et al. 2024, section 4).
    """
    num, pp, per_rank = inputs.num_micro_batches, dims.pp, STAGES_PER_RANK[inputs.pp_schedule]
    if pp == 1:
        return min(num, 1)
    if inputs.pp_schedule in V_SCHEDULES:
        return min(num, pp)
    if per_rank == 1:
        return min(num, pp - pp_rank)
    stages_ahead = (per_rank - 1) * pp + 2 * (pp - 1 - pp_rank) + 1
    return min(num * per_rank, stages_ahead) / per_rank


def _logits(args: DecoderArgs, dims: ArchonParallelDims, inputs: PlanInputs) -> int:
    if args.is_critic:
        return 0
    # A vocabulary that does not divide stays whole on each tensor-parallel rank.
    columns = args.vocab_size if args.vocab_size % dims.tp else args.vocab_size // dims.tp
    return min(inputs.logits_chunk, inputs.num_tokens) * columns * 4 * _LOGIT_COPIES


def render(plan: Plan) -> str:
    """The plan as tables."""
    lines = [
        f"# Layout {plan.layout}: {plan.world_size} ranks, {plan.total_parameters / 1e9:.3f} B parameters",
        "",
        "# Memory per rank (GiB)",
        *_table(
            ["pp", "layers", "params", "weights", "grads", "optimizer", "gathered", "activations", "logits", "total"],
            [_memory_row(rank) for rank in plan.ranks],
        ),
        "",
        "# Collectives per optimizer step (rank of the first stage with blocks)",
        *_table(["axis", "collective", "of", "calls", "MiB sent"], _collective_rows(plan)),
        "",
        "Parameters are exact; activations are estimated for fused attention (see areal.experimental.models.archon.planning).",
        "Left out of the collectives: sums of scalars (loss, weights, gradient norm) and loads of experts.",
    ]
    if host := max(rank.host_bytes for rank in plan.ranks):
        lines.append(
            f"Of weights, gradients and optimizer {host / _GIB:.2f} GiB are in host memory and not in the total."
        )
    return "\n".join(lines)


def _memory_row(rank: RankPlan) -> list[str]:
    sizes = (
        rank.weights_bytes,
        rank.gradients_bytes,
        rank.optimizer_bytes,
        rank.gathered_bytes,
        rank.activations_bytes,
        rank.logits_bytes,
        rank.total_bytes,
    )
    return [
        str(rank.pp_rank),
        _ranges(rank.layers),
        f"{rank.parameters.local / 1e6:.1f} M",
        *(f"{size / _GIB:.2f}" for size in sizes),
    ]


def _collective_rows(plan: Plan) -> list[list[str]]:
    rank = next((rank for rank in plan.ranks if rank.layers), plan.ranks[0])
    rows = [[c.axis, c.kind, c.what, str(c.count), f"{c.bytes_sent / 2**20:.1f}"] for c in rank.collectives]
    return rows or [["-", "none", "one rank", "0", "0.0"]]


def _ranges(layers: Sequence[int]) -> str:
    """`0-3,8-11`."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs) or "-"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [list(header), *map(list, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
