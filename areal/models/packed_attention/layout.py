# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Where the sequences of a packed micro-batch lie, and how to group them into padded buckets of similar length.

Sequences may share rows (`packed_attention.sharing`): then T below counts rows, and a row stands in several sequences.

Built once a micro-batch by the engine, then shared by all layers. Holds no model state.
Shapes: T tokens of all sequences, H query heads, K key/value heads, G = H / K, L padded length of a bucket.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import torch
from torch import Tensor

from areal.models.packed_attention.sharing import SharedPrefixes

# A sequence joins a bucket when at least this share of its padded row is real. Scores cost L^2, so 0.75 wastes at most
# 44 % of a row's scores; finer buckets cost more in kernel launches than they save (measured at 50-430 tokens).
MIN_FILL = 0.75
# Sequences this short share one bucket: their scores are cheaper than another round of kernels.
SHORT_LENGTH = 32
# Scores of one bucket, in elements: 2^21 floats are 8 MB, about what stays in the caches of a core between passes.
MAX_SCORES = 1 << 21


@dataclass(frozen=True)
class Bucket:
    """Sequences padded to common lengths; slices are rows of the padded query and key/value buffers.

    A sequence that shares a prefix has queries for its own tokens only: `offsets` `[n]` are the positions of the first
    queries; None means that all queries start at position 0 (and both lengths are equal).
    """

    num_sequences: int
    query_length: int
    key_length: int
    query_rows: slice
    key_rows: slice
    offsets: Tensor | None


@dataclass(frozen=True)
class DensePlan:
    """Row gathers between packed `[T * heads, D]` tensors and padded bucket buffers, for one head layout.

    Query rows of a bucket are ordered `[sequence, K, G, Lq]`, key and value rows `[sequence, K, Lk]`, so that one batched
    matrix product serves all G query heads of a key head without repeating keys.
    """

    buckets: tuple[Bucket, ...]
    query_source: Tensor  # [padded query rows] int64, row of the packed tensor
    query_target: Tensor  # [T * H] int64, padded row of each packed row
    key_source: Tensor
    key_target: Tensor  # [T * K] int64
    query_padding: Tensor  # padded query rows that stand for no token
    key_copies: Tensor  # padded key rows beside `key_target` that stand for a shared token: their gradients add up
    masks: dict[tuple[int, int | None], Tensor] = field(default_factory=dict, repr=False, compare=False)
    """Made by the kernel: additive masks of buckets with offsets, by bucket and window; shared by all layers."""


@dataclass(frozen=True)
class Run:
    """Adjacent tokens of a packed batch: one long sequence, or several short ones."""

    num_tokens: int
    is_long: bool


@dataclass(frozen=True)
class PackedLayout:
    """Sequence boundaries of a packed micro-batch: lengths on the host, cumulative lengths on the device."""

    seq_lens: tuple[int, ...]
    cu_seqlens: Tensor  # int32 [n + 1]
    shared: SharedPrefixes | None = None
    _plans: dict[tuple[int, int], DensePlan] = field(default_factory=dict, repr=False, compare=False)
    _splits: dict[int, tuple[tuple[Run, ...], PackedLayout | None]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @classmethod
    def from_lengths(
        cls, seq_lens: list[int], device: torch.device | str = "cpu", shared: SharedPrefixes | None = None
    ) -> PackedLayout:
        """Layout of sequences of these lengths (each >= 1), packed in this order, with the prefixes they share."""
        if not seq_lens or min(seq_lens) < 1:
            raise ValueError(f"expected at least one sequence of at least one token, got lengths {seq_lens}")
        cu_seqlens = torch.tensor([0, *itertools.accumulate(seq_lens)], dtype=torch.int32)
        return cls(tuple(seq_lens), cu_seqlens.to(device), shared)

    @property
    def num_tokens(self) -> int:
        """T, the rows of packed tensors."""
        return sum(self.seq_lens) if self.shared is None else len(self.shared.first_tokens)

    @property
    def max_seqlen(self) -> int:
        """Longest sequence, in tokens."""
        return max(self.seq_lens)

    def position_ids(self) -> Tensor:
        """Position of each token in its sequence: int64 `[T]`."""
        positions = torch.cat([torch.arange(length) for length in self.seq_lens])
        if self.shared is not None:
            positions = positions[self.shared.first_tokens]
        return positions.to(self.cu_seqlens.device)

    def dense_plan(self, num_heads: int, num_kv_heads: int) -> DensePlan:
        """The bucket plan for a head layout, made at its first use."""
        key = (num_heads, num_kv_heads)
        if key not in self._plans:
            self._plans[key] = _make_plan(self, num_heads, num_kv_heads)
        return self._plans[key]

    def split_long(self, max_length: int) -> tuple[tuple[Run, ...], PackedLayout | None]:
        """Runs of the batch in order, and the layout of its short sequences alone (None if there are none)."""
        if max_length not in self._splits:
            short = [length for length in self.seq_lens if length <= max_length]
            runs: list[Run] = []
            for is_long, group in itertools.groupby(self.seq_lens, key=lambda length: length > max_length):
                lengths = list(group)
                runs += [Run(length, True) for length in lengths] if is_long else [Run(sum(lengths), False)]
            short_layout = PackedLayout.from_lengths(short, self.cu_seqlens.device) if short else None
            self._splits[max_length] = (tuple(runs), short_layout)
        return self._splits[max_length]


def bucket_sequences(seq_lens: tuple[int, ...], num_heads: int, members: list[int] | None = None) -> list[list[int]]:
    """Indices of sequences (`members`, default all) grouped by similar length, longest first; each in one group."""
    order = sorted(range(len(seq_lens)) if members is None else members, key=lambda index: -seq_lens[index])
    groups: list[list[int]] = []
    for index in order:
        longest = seq_lens[groups[-1][0]] if groups else 0
        fits = groups and (len(groups[-1]) + 1) * num_heads * longest * longest <= MAX_SCORES
        if fits and (seq_lens[index] >= MIN_FILL * longest or longest <= SHORT_LENGTH):
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _make_plan(layout: PackedLayout, num_heads: int, num_kv_heads: int) -> DensePlan:
    if num_heads % num_kv_heads != 0:
        raise ValueError(f"expected query heads to be a multiple of key heads, got {num_heads} and {num_kv_heads}")
    num_groups = num_heads // num_kv_heads
    heads_KG = torch.arange(num_heads).view(num_kv_heads, num_groups)
    heads_K1 = torch.arange(num_kv_heads).view(num_kv_heads, 1)
    prefix_lens = layout.shared.prefix_lens if layout.shared is not None else (0,) * len(layout.seq_lens)
    buckets: list[Bucket] = []
    query_parts: list[tuple[Tensor, Tensor]] = []
    key_parts: list[tuple[Tensor, Tensor]] = []
    num_query_rows = num_key_rows = 0
    device = layout.cu_seqlens.device
    for is_sharing in (False, True):
        members = [index for index, prefix in enumerate(prefix_lens) if (prefix > 0) == is_sharing]
        for group in bucket_sequences(layout.seq_lens, num_heads, members):
            prefixes = [prefix_lens[index] for index in group]
            key_tokens_nL, key_is_real_nL = _tokens(layout, group, [0] * len(group))
            query_tokens_nL, query_is_real_nL = _tokens(layout, group, prefixes)
            query_parts.append(_rows(query_tokens_nL, query_is_real_nL, heads_KG, num_heads))
            key_parts.append(_rows(key_tokens_nL, key_is_real_nL, heads_K1, num_kv_heads))
            query_rows = slice(num_query_rows, num_query_rows + query_tokens_nL.numel() * num_heads)
            key_rows = slice(num_key_rows, num_key_rows + key_tokens_nL.numel() * num_kv_heads)
            num_query_rows, num_key_rows = query_rows.stop, key_rows.stop
            offsets = torch.tensor(prefixes, device=device) if is_sharing else None
            lengths = (query_tokens_nL.shape[1], key_tokens_nL.shape[1])
            buckets.append(Bucket(len(group), *lengths, query_rows, key_rows, offsets))
    query_source, query_target, is_real, _ = _join(query_parts, layout.num_tokens * num_heads)
    query_padding = (~is_real).nonzero().squeeze(1)
    key_source, key_target, is_real, is_owner = _join(key_parts, layout.num_tokens * num_kv_heads)
    key_copies = (is_real & ~is_owner).nonzero().squeeze(1)
    tensors = (query_source, query_target, key_source, key_target, query_padding, key_copies)
    return DensePlan(tuple(buckets), *(tensor.to(device) for tensor in tensors))


def _tokens(layout: PackedLayout, group: list[int], skipped: list[int]) -> tuple[Tensor, Tensor]:
    """Rows of the tokens of some sequences after the first `skipped` ones, padded to `[n, L]`, and which are real."""
    starts = [0, *itertools.accumulate(layout.seq_lens)]
    lengths_n1 = torch.tensor([layout.seq_lens[index] - skip for index, skip in zip(group, skipped)]).unsqueeze(1)
    starts_n1 = torch.tensor([starts[index] + skip for index, skip in zip(group, skipped)]).unsqueeze(1)
    positions_1L = torch.arange(int(lengths_n1.max())).unsqueeze(0)
    # Padding repeats the last token: finite values that no real query can see, being later in the sequence.
    tokens_nL = starts_n1 + torch.minimum(positions_1L, lengths_n1 - 1)
    rows_nL = tokens_nL if layout.shared is None else layout.shared.token_rows[tokens_nL]
    return rows_nL, positions_1L < lengths_n1


def _rows(tokens_nL: Tensor, is_real_nL: Tensor, heads_KG: Tensor, num_heads: int) -> tuple[Tensor, Tensor]:
    """Packed rows of a bucket in the order [n, K, G, L], flat, and which of them stand for a token."""
    rows_nKGL = tokens_nL[:, None, None, :] * num_heads + heads_KG[None, :, :, None]
    return rows_nKGL.flatten(), is_real_nL[:, None, None, :].expand_as(rows_nKGL).flatten()


def _join(parts: list[tuple[Tensor, Tensor]], num_packed_rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gathers of all buckets: source, target, which padded rows stand for a token, and which are the target's own."""
    source = torch.cat([rows for rows, _ in parts])
    is_real = torch.cat([real for _, real in parts])
    real_rows = is_real.nonzero().squeeze(1)
    target = torch.empty(num_packed_rows, dtype=torch.long)
    target[source[real_rows]] = real_rows
    is_owner = torch.zeros_like(is_real)
    is_owner[target] = True
    return source, target, is_real, is_owner
