# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Which collectives a rank takes part in during one optimizer step, and how much it sends, from the layout alone.

Follows `parallel`: what each axis does to a block is written there once, and counted here once. Called by `report`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    DecoderArgs,
    DeltaNetArgs,
    LayerArgs,
    MLAArgs,
    MoEArgs,
)
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.planning.parameters import RankParameters

_GRAD_BYTES = 4  # gradients are reduced in fp32


@dataclass(frozen=True)
class Collective:
    """`count` calls a step on an axis; `bytes_sent` by this rank in all of them, each byte to each rank that needs it."""

    axis: str
    kind: str
    what: str
    count: int
    bytes_sent: int


@dataclass(frozen=True)
class StepShape:
    """One optimizer step on a rank: micro-batches of `num_tokens` tokens each (of the data-parallel rank, before cp and tp)."""

    num_micro_batches: int
    num_tokens: int
    compute_bytes: int
    gathers_twice: bool
    """Whether blocks give gathered parameters back after their forward."""


def step_collectives(
    args: DecoderArgs, layers: Sequence[int], dims: ArchonParallelDims, held: RankParameters, step: StepShape
) -> list[Collective]:
    """All collectives of a rank that runs `layers` (global indices) of a model."""
    found = list(_data(dims, held, step))
    blocks = [args.layers[i] for i in layers]
    if dims.tp > 1:
        found += _tensor(args, blocks, dims, step)
    if dims.cp > 1:
        found += _context(blocks, dims, step)
    if dims.ep > 1:
        found += _experts(args, blocks, dims, step)
    if dims.pp > 1:
        size = _rows(dims, step) * args.hidden_size * step.compute_bytes
        found.append(_make("pp", "send", "hidden states and their gradients", 2, size, step))
    return found


def _make(axis: str, kind: str, what: str, count: int, size: int, step: StepShape) -> Collective:
    """`count` calls a micro-batch of `size` bytes each."""
    calls = count * step.num_micro_batches
    return Collective(axis=axis, kind=kind, what=what, count=calls, bytes_sent=calls * size)


def _rows(dims: ArchonParallelDims, step: StepShape) -> int:
    return step.num_tokens // (dims.tp * dims.cp)


def _data(dims: ArchonParallelDims, held: RankParameters, step: StepShape) -> Iterator[Collective]:
    """FSDP: each unit is gathered for the forward and, if given back, for the backward; gradients are reduced after each."""
    dense = (dims.fsdp, held.local - held.local_experts, "dp_shard_cp", held.num_units)
    sparse = (dims.expert_fsdp, held.local_experts, "dp_shard_mod_ep", held.num_units - 1)
    calls = step.num_micro_batches
    gathers = 2 * calls if step.gathers_twice else 1  # what stays gathered is gathered anew after the update only
    for ranks, shard, axis, units in (dense, sparse):
        if ranks > 1 and shard > 0:
            sent = shard * (ranks - 1)
            yield Collective(axis, "all_gather", "parameters", gathers * units, gathers * sent * step.compute_bytes)
            yield Collective(axis, "reduce_scatter", "gradients", calls * units, calls * sent * _GRAD_BYTES)


def _tensor(
    args: DecoderArgs, blocks: list[LayerArgs], dims: ArchonParallelDims, step: StepShape
) -> Iterator[Collective]:
    """Sequence parallelism: rows are gathered before a cut sub-layer and scattered behind it; backward the other way round."""
    size = _rows(dims, step) * args.hidden_size * step.compute_bytes
    cut = sum(_num_cut(block) for block in blocks)
    for kind in ("all_gather", "reduce_scatter"):
        yield _make("tp", kind, "rows of the residual stream", 2 * cut, size * (dims.tp - 1), step)


def _num_cut(block: LayerArgs) -> int:
    """Sub-layers of a block that need all rows of the model-parallel group."""
    is_dense = not isinstance(block.ffn, MoEArgs)
    has_shared = isinstance(block.ffn, MoEArgs) and block.ffn.shared is not None
    return 1 + is_dense + has_shared


def _context(blocks: list[LayerArgs], dims: ArchonParallelDims, step: StepShape) -> Iterator[Collective]:
    """Ulysses: heads for tokens before attention, tokens for heads behind it, and the same backward."""
    for block in blocks:
        mixer, rows = block.mixer, step.num_tokens // dims.cp
        if isinstance(mixer, DeltaNetArgs):
            keys, values = mixer.num_value_heads * mixer.key_head_dim, mixer.num_value_heads * mixer.value_head_dim
            widths = [2 * mixer.num_key_heads * mixer.key_head_dim + values] * 2 + [keys, keys, values, values]
        else:
            widths = _attention_widths(mixer)
        elements = sum(widths) // (1 if isinstance(mixer, DeltaNetArgs) else dims.tp)
        size = rows * elements * step.compute_bytes * (dims.cp - 1) // dims.cp // len(widths)
        yield _make("cp", "all_to_all", "heads for tokens", 2 * len(widths), size, step)


def _attention_widths(mixer: AttentionArgs | MLAArgs) -> list[int]:
    """Channels of q, k, v and the output."""
    if isinstance(mixer, MLAArgs):
        qk = mixer.num_heads * (mixer.nope_head_dim + mixer.rope_head_dim)
        return [qk, qk, *[mixer.num_heads * mixer.value_head_dim] * 2]
    return [
        mixer.num_heads * mixer.head_dim,
        mixer.num_kv_heads * mixer.head_dim,
        mixer.num_kv_heads * mixer.value_head_dim,
        mixer.num_heads * mixer.value_head_dim,
    ]


def _experts(
    args: DecoderArgs, blocks: list[LayerArgs], dims: ArchonParallelDims, step: StepShape
) -> Iterator[Collective]:
    """Rows go to their experts and back, and the same backward; every expert equally popular."""
    for block in blocks:
        if isinstance(block.ffn, MoEArgs):
            rows = _rows(dims, step) * block.ffn.top_k
            size = rows * args.hidden_size * step.compute_bytes * (dims.ep - 1) // dims.ep
            yield _make("ep", "all_to_all", "rows to experts and back", 4, size, step)
            yield _make("ep", "all_to_all", "numbers of rows", 1, block.ffn.num_experts * 8, step)


def merged(collectives: list[Collective]) -> list[Collective]:
    """One entry for each axis, kind and purpose."""
    totals: dict[tuple[str, str, str], list[int]] = {}
    for entry in collectives:
        total = totals.setdefault((entry.axis, entry.kind, entry.what), [0, 0])
        total[0] += entry.count
        total[1] += entry.bytes_sent
    return [Collective(*key, count=count, bytes_sent=size) for key, (count, size) in totals.items()]
