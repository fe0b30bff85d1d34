# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Which collectives a rank takes part in during one optimizer step, and how much it sends, from the layout alone.

Follows `parallel`: what each axis does to a block is written there once, and counted here once; a test counts those of a real
step. Sums of scalars (loss, weights, gradient norm) and loads of experts are left out. Called by `report`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    DecoderArgs,
    DeltaNetArgs,
    FeedForwardArgs,
    LayerArgs,
    MLAArgs,
    MoEArgs,
    ShortConvArgs,
)
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.planning.parameters import RankParameters

CheckpointMode = Literal["none", "selective", "full"]
_ROWS = "rows of the residual stream"
_COUNT_BYTES = 8  # int64
_STATISTIC_BYTES = 4
_STATISTICS_A_ROW = 4  # maximum, then sum, target and entropy together


@dataclass(frozen=True)
class Collective:
    """`count` calls a step on an axis; `bytes_sent` by this rank in all of them, each byte to each rank that needs it."""

    axis: str
    kind: str
    what: str
    count: int
    bytes_sent: int


@dataclass(frozen=True, kw_only=True)
class StepShape:
    """One optimizer step on a rank: micro-batches of `num_tokens` tokens each (of the data-parallel rank, before cp and tp).

    reshards: whether blocks give gathered parameters back after their forward. reduces_once: whether gradients are reduced
    at the end of the step alone. logits_chunk: rows of logits at a time. has_embedding, has_head: ends of the model on this
    rank. num_sends: stages of other ranks that those of this rank send to, forward and backward. grad_bytes: of an element of a
    reduced gradient.
    """

    num_micro_batches: int
    num_tokens: int
    compute_bytes: int
    reduce_bytes: int
    reshards: bool
    reduces_once: bool
    logits_chunk: int
    has_embedding: bool
    has_head: bool
    num_sends: int
    grad_bytes: int


@dataclass(frozen=True)
class PlannedBlock:
    """A block of this rank, and what of it is computed again in the backward."""

    args: LayerArgs
    checkpointing: CheckpointMode

    @property
    def gathers(self) -> int:
        """Runs of a gather of the forward: checkpointing keeps no gathered rows."""
        return 1 if self.checkpointing == "none" else 2

    @property
    def exchanges(self) -> int:
        """Runs of a scatter or an all-to-all of the forward: selective checkpointing keeps their results."""
        return 2 if self.checkpointing == "full" else 1


def step_collectives(
    args: DecoderArgs, blocks: Sequence[PlannedBlock], dims: ArchonParallelDims, held: RankParameters, step: StepShape
) -> list[Collective]:
    """All collectives of a rank that runs these blocks of a model."""
    found = list(_data(dims, held, step))
    if dims.tp > 1:
        found += _tensor(args, blocks, dims, held, step)
    if dims.cp > 1:
        found += _context(args, blocks, dims, step)
    for block in blocks:
        if isinstance(block.args.ffn, MoEArgs):
            found += _experts(args, block, block.args.ffn, dims, step)
    if dims.pp > 1:
        size = _rows(dims, step) * args.hidden_size * step.compute_bytes
        found.append(_make("pp", "send", "hidden states and their gradients", step.num_sends, size, step))
        if held.local_shared:
            found.append(
                Collective("pp", "send", "gradient of tied embeddings", 1, held.local_shared * step.grad_bytes)
            )
    return [entry for entry in merged(found) if entry.count]


def _make(axis: str, kind: str, what: str, count: int, size: int, step: StepShape) -> Collective:
    """`count` calls a micro-batch of `size` bytes each."""
    calls = count * step.num_micro_batches
    return Collective(axis=axis, kind=kind, what=what, count=calls, bytes_sent=calls * size)


def _rows(dims: ArchonParallelDims, step: StepShape) -> int:
    return step.num_tokens // (dims.tp * dims.cp)


def _data(dims: ArchonParallelDims, held: RankParameters, step: StepShape) -> Iterator[Collective]:
    """FSDP: blocks are gathered for the forward and, if given back, for the backward, the rest once a micro-batch; within a
    pipeline what stays gathered stays so until the update."""
    calls, has_pipeline = step.num_micro_batches, dims.pp > 1
    gathers = 2 * calls if step.reshards else 1 if has_pipeline else calls
    root_gathers = 1 if has_pipeline else calls
    reduces = 1 if step.reduces_once else calls
    blocks = held.local - held.local_experts - held.local_root
    units = (
        ("dp_shard_cp", dims.fsdp, blocks, held.num_blocks, gathers),
        ("dp_shard_cp", dims.fsdp, held.local_root, held.num_roots, root_gathers),
        ("dp_shard_mod_ep", dims.expert_fsdp, held.local_experts, held.num_expert_units, gathers),
    )
    for axis, ranks, shard, count, times in units:
        if ranks > 1:
            sent = shard * (ranks - 1)
            yield Collective(axis, "all_gather", "parameters", times * count, times * sent * step.compute_bytes)
            yield Collective(axis, "reduce_scatter", "gradients", reduces * count, reduces * sent * step.reduce_bytes)


def _tensor(
    args: DecoderArgs, blocks: Sequence[PlannedBlock], dims: ArchonParallelDims, held: RankParameters, step: StepShape
) -> Iterator[Collective]:
    """Sequence parallelism: rows are gathered before a cut sub-layer and scattered behind it; backward the other way round."""
    size = _rows(dims, step) * args.hidden_size * step.compute_bytes * (dims.tp - 1)
    cuts_vocabulary = args.vocab_size % dims.tp == 0
    cut = [(block, _num_cut(block.args)) for block in blocks]
    whole = [block for block in blocks if isinstance(block.args.mixer, DeltaNetArgs)]
    gathers = sum((block.gathers + 1) * count for block, count in cut) + sum(block.gathers + 1 for block in whole)
    scatters = sum((block.exchanges + 1) * count for block, count in cut)
    has_cut_embedding = step.has_embedding and cuts_vocabulary
    has_cut_head = step.has_head and cuts_vocabulary and not args.is_critic
    ends = step.has_embedding + step.has_head
    yield _make("tp", "all_gather", _ROWS, gathers + ends, size, step)
    yield _make("tp", "reduce_scatter", _ROWS, scatters + has_cut_embedding + has_cut_head, size, step)
    mean = held.summed_elements // max(held.num_summed, 1) * step.compute_bytes
    yield _make("tp", "all_reduce", "gradients of whole parameters", held.num_summed, mean, step)
    flat = sum(_num_flat_norms(block.args) * (block.gathers + 1) for block in blocks)
    rows = step.num_tokens // dims.cp
    yield _make("tp", "all_reduce", "mean squares of norms over all heads", flat, rows * _STATISTIC_BYTES, step)
    if has_cut_head:
        chunks = -(-rows // step.logits_chunk)
        size = rows // chunks * _STATISTIC_BYTES * _STATISTICS_A_ROW // 2
        yield _make("tp", "all_reduce", "statistics of logits", 2 * chunks, size, step)


def _num_cut(block: LayerArgs) -> int:
    """Sub-layers of a block that need all rows and return partial sums."""
    has_cut_mixer = not isinstance(block.mixer, DeltaNetArgs)
    is_dense = isinstance(block.ffn, FeedForwardArgs)
    has_shared = isinstance(block.ffn, MoEArgs) and block.ffn.shared is not None
    return has_cut_mixer + is_dense + has_shared


def _num_flat_norms(block: LayerArgs) -> int:
    """Norms over channels of which each rank has its part."""
    mixer, ffn = block.mixer, block.ffn
    count = 0
    if isinstance(mixer, AttentionArgs):
        is_flat = mixer.qk_norm is not None and mixer.qk_norm.kind == "flat"
        count += 2 * is_flat + (mixer.out_norm is not None)
    dense = ffn if isinstance(ffn, FeedForwardArgs) else ffn.shared.feed_forward if ffn.shared is not None else None
    return count + (dense is not None and dense.inner_norm is not None)


def _context(
    args: DecoderArgs, blocks: Sequence[PlannedBlock], dims: ArchonParallelDims, step: StepShape
) -> Iterator[Collective]:
    """Ulysses: heads for tokens before attention, tokens for heads behind it, and the same backward. Scores are gathered."""
    rows = step.num_tokens // dims.cp
    for block in blocks:
        exchanged = _exchanged_widths(block.args.mixer, dims)
        size = rows * sum(exchanged) * step.compute_bytes * (dims.cp - 1) // dims.cp // len(exchanged)
        runs = (block.exchanges + 1) * len(exchanged)
        yield _make("cp", "all_to_all", "heads for tokens", runs, size, step)
    if step.has_head:
        scores = rows * 2 * _STATISTIC_BYTES * (dims.cp - 1)
        yield _make("cp", "all_gather", "scores of tokens", 1, scores, step)


def _exchanged_widths(
    mixer: AttentionArgs | MLAArgs | DeltaNetArgs | ShortConvArgs, dims: ArchonParallelDims
) -> list[int]:
    """Channels of each exchange: what goes to heads together, and what comes back."""
    if isinstance(mixer, DeltaNetArgs):
        values, heads = mixer.num_value_heads * mixer.value_head_dim, mixer.num_value_heads
        return [mixer.conv_channels, mixer.conv_channels, 2 * heads * mixer.key_head_dim + values, heads, heads, values]
    if isinstance(mixer, ShortConvArgs):
        return [mixer.conv_channels // dims.tp] * 2
    if isinstance(mixer, MLAArgs):
        width = mixer.nope_head_dim + mixer.rope_head_dim
        heads = mixer.num_heads // dims.tp
        return [heads * (2 * width + mixer.value_head_dim), heads * mixer.value_head_dim]
    heads = mixer.num_heads // dims.tp
    key_heads = max(mixer.num_kv_heads // dims.tp, dims.cp)  # repeated where there are fewer than ranks
    inputs = heads * mixer.qk_width + key_heads * (mixer.qk_width + mixer.value_head_dim)
    return [inputs, heads * mixer.value_head_dim]


def _experts(
    args: DecoderArgs, block: PlannedBlock, moe: MoEArgs, dims: ArchonParallelDims, step: StepShape
) -> Iterator[Collective]:
    """Rows go to their experts and back, and the same backward; every expert equally popular. Ranks that cut experts gather
    their rows first, and scatter the sums."""
    rows, cuts = _rows(dims, step) * moe.top_k, dims.expert_tp
    row_bytes, counts_bytes = args.hidden_size * step.compute_bytes, moe.num_experts * _COUNT_BYTES
    if dims.ep > 1:
        size = rows * cuts * row_bytes * (dims.ep - 1) // dims.ep
        yield _make("ep", "all_to_all", "rows to experts and back", 2 * (block.exchanges + 1), size, step)
        yield _make("ep", "all_to_all", "numbers of rows", block.gathers, counts_bytes, step)
    if cuts > 1:
        size = rows * row_bytes * (cuts - 1)
        yield _make("etp", "all_gather", "rows of experts that are cut", block.gathers + 1, size, step)
        yield _make("etp", "reduce_scatter", "rows of experts that are cut", block.exchanges + 1, size, step)
        yield _make("etp", "all_gather", "numbers of rows", block.gathers, counts_bytes * (cuts - 1), step)
        if moe.experts.bias:
            size = moe.num_experts // dims.ep * row_bytes
            yield _make("etp", "all_reduce", "gradients of whole parameters", 1, size, step)


def merged(collectives: list[Collective]) -> list[Collective]:
    """One entry for each axis, kind and purpose."""
    totals: dict[tuple[str, str, str], list[int]] = {}
    for entry in collectives:
        total = totals.setdefault((entry.axis, entry.kind, entry.what), [0, 0])
        total[0] += entry.count
        total[1] += entry.bytes_sent
    return [Collective(*key, count=count, bytes_sent=size) for key, (count, size) in totals.items()]
