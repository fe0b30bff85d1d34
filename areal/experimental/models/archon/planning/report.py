# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The plan of a training role: what each pipeline rank holds, keeps and sends, as data and as text.

Called by `areal plan`. Ranks of one pipeline stage hold the same up to the rounding of uneven shards; the first of each is
counted. Must never need the hardware that it plans for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from areal.experimental.models.archon.model import ModelPart
from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.fsdp import ReshardPolicy, reshards_after_forward
from areal.experimental.models.archon.parallel.stages import count_stages, model_parts, stages_of_rank
from areal.experimental.models.archon.parallel.validate import check_layout
from areal.experimental.models.archon.planning.activations import layer_activations
from areal.experimental.models.archon.planning.collectives import Collective, StepShape, merged, step_collectives
from areal.experimental.models.archon.planning.parameters import RankParameters, rank_parameters

CheckpointMode = Literal["none", "selective", "full"]
_SELECTIVE_SHARE = 0.5
"""Selective checkpointing keeps every second matrix product and all attention outputs: about half of what a block keeps."""
_LOGIT_COPIES = 3  # a chunk of logits in fp32, its softmax, and the gradient
_ADAM_MOMENTS = 2
_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class PlanInputs:
    """What the plan depends on besides model and layout. Bytes are of one element; `num_tokens` of one micro-batch."""

    num_tokens: int
    num_micro_batches: int
    compute_bytes: int = 2
    master_bytes: int = 4
    num_moments: int = _ADAM_MOMENTS
    logits_chunk: int = 1024
    checkpointing: CheckpointMode = "none"
    reshard_policy: ReshardPolicy = "default"
    pp_schedule: str = "1F1B"
    pp_layers_per_stage: int | None = None
    pp_less_layers: tuple[int, int] = (1, 1)


@dataclass(frozen=True, kw_only=True)
class RankPlan:
    """One pipeline rank; sizes in bytes."""

    pp_rank: int
    layers: tuple[int, ...]
    parameters: RankParameters
    weights_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    gathered_bytes: int
    activations_bytes: int
    logits_bytes: int
    collectives: tuple[Collective, ...]

    @property
    def total_bytes(self) -> int:
        """All of it at the worst moment of a step."""
        held = self.weights_bytes + self.gradients_bytes + self.optimizer_bytes
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
    ranks = tuple(
        _rank_plan(args, dims, inputs, pp_rank, parts) for pp_rank, parts in _parts_by_rank(args, dims, inputs)
    )
    return Plan(
        layout=layout,
        world_size=dims.world_size,
        total_parameters=sum(rank.parameters.total for rank in ranks),
        ranks=ranks,
    )


def _parts_by_rank(
    args: DecoderArgs, dims: ArchonParallelDims, inputs: PlanInputs
) -> list[tuple[int, list[ModelPart]]]:
    if dims.pp == 1:
        return [(0, [ModelPart.whole(args)])]
    num_stages = count_stages(args.num_layers, dims.pp, inputs.pp_schedule, inputs.pp_layers_per_stage)
    parts = model_parts(args, num_stages, inputs.pp_less_layers)
    return [
        (rank, [parts[stage] for stage in stages_of_rank(rank, dims.pp, num_stages, inputs.pp_schedule)])
        for rank in range(dims.pp)
    ]


def _rank_plan(
    args: DecoderArgs, dims: ArchonParallelDims, inputs: PlanInputs, pp_rank: int, parts: Sequence[ModelPart]
) -> RankPlan:
    held = rank_parameters(args, dims, pp_rank * dims.world_size // dims.pp, parts)
    layers = tuple(i for part in parts for i in range(part.first_layer, part.last_layer))
    reshards = reshards_after_forward(inputs.reshard_policy, dims.pp_enabled)
    step = StepShape(
        num_micro_batches=inputs.num_micro_batches,
        num_tokens=inputs.num_tokens,
        compute_bytes=inputs.compute_bytes,
        gathers_twice=reshards,
    )
    has_head = any(part.has_head for part in parts)
    return RankPlan(
        pp_rank=pp_rank,
        layers=layers,
        parameters=held,
        weights_bytes=held.local * inputs.master_bytes,
        gradients_bytes=held.local * inputs.master_bytes,
        optimizer_bytes=held.local * inputs.master_bytes * inputs.num_moments,
        gathered_bytes=_gathered(dims, held, inputs, reshards),
        activations_bytes=_activations(args, dims, inputs, layers, pp_rank),
        logits_bytes=_logits(args, dims, inputs) if has_head else 0,
        collectives=tuple(merged(step_collectives(args, layers, dims, held, step))),
    )


def _gathered(dims: ArchonParallelDims, held: RankParameters, inputs: PlanInputs, reshards: bool) -> int:
    """Parameters that FSDP has gathered at once: two units (one is prefetched) and the root, or all of them; one gradient."""
    if dims.fsdp == 1 and dims.expert_fsdp == 1 and inputs.compute_bytes == inputs.master_bytes:
        return 0
    blocks = 2 * held.largest_unit if reshards else held.largest_unit * (held.num_units - 1)
    return (blocks + held.root) * inputs.compute_bytes + held.largest_unit * inputs.compute_bytes


def _activations(
    args: DecoderArgs, dims: ArchonParallelDims, inputs: PlanInputs, layers: Sequence[int], pp_rank: int
) -> int:
    """Of all micro-batches that are in flight on the rank, plus the block that is being recomputed."""
    blocks = [layer_activations(args, layer, inputs.num_tokens, dims) for layer in layers]
    largest = max((block.kept for block in blocks), default=0)
    if inputs.checkpointing == "none":
        per_micro_batch, recomputed = sum(block.kept for block in blocks), 0
    elif inputs.checkpointing == "full":
        per_micro_batch, recomputed = sum(block.block_input for block in blocks), largest
    else:
        kept = sum(block.block_input + int(_SELECTIVE_SHARE * block.kept) for block in blocks)
        per_micro_batch, recomputed = kept, largest
    in_flight = min(inputs.num_micro_batches, dims.pp - pp_rank)  # 1F1B: warm-up forwards of the stages behind
    return (per_micro_batch * in_flight + recomputed) * inputs.compute_bytes


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
    ]
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
