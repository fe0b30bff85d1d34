# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Keys and values of every live row in contiguous slots, and the attention strategies that write and read them.

Row r uses slot r, so that a step reads plain views of the first R slots: when a row leaves, the last one moves into its
place. Used by `ArchonRunner` alone. Dimensions: L layers, R rows, T cached tokens, S new tokens a row, H query heads,
K key heads, D head width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from areal.experimental.models.archon.attention import causal_attention

_TOKEN_BUCKET = 64
"""Slots grow by whole buckets; below 64 tokens a reallocation costs more than the memory is worth."""
_GROWTH = 1.5
"""A full cache grows by half, so that the copies of a long generation stay linear in its length."""


class SlotKVCache:
    """`[2, L, slots, K, T, D]`, grown on demand. Positions beyond a row's length hold old, finite numbers."""

    def __init__(
        self, *, num_layers: int, num_kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.num_kv_heads = num_kv_heads
        self._shape = (2, num_layers, 0, num_kv_heads, 0, head_dim)
        self._dtype, self._device = dtype, device
        self.clear()

    @property
    def capacity(self) -> tuple[int, int]:
        """Slots, and tokens a slot."""
        return self._data.shape[2], self._data.shape[4]

    def clear(self) -> None:
        """Give the memory back; the next `reserve` starts from zeros."""
        self._use(torch.zeros(self._shape, dtype=self._dtype, device=self._device))

    def reserve(self, rows: int, tokens: int) -> None:
        """Make room for `rows` rows of `tokens` tokens, keeping what is there."""
        slots, length = self.capacity
        if rows <= slots and tokens <= length:
            return
        if rows > slots:
            slots = max(8, 1 << (rows - 1).bit_length())
        if tokens > length:
            length = math.ceil(max(tokens, length * _GROWTH) / _TOKEN_BUCKET) * _TOKEN_BUCKET
        # Zeros, not empty: a masked position is multiplied by 0, and 0 · NaN would leak into its row.
        grown = torch.zeros(
            (*self._shape[:2], slots, self.num_kv_heads, length, self._shape[-1]),
            dtype=self._dtype,
            device=self._device,
        )
        old_slots, old_length = self.capacity
        grown[:, :, :old_slots, :, :old_length] = self._data
        self._use(grown)

    def write_prefix(self, rows: Sequence[int], kv: Tensor) -> None:
        """Copy one prompt's `[2, L, K, P, D]` to the start of the given rows."""
        self._data[:, :, rows, :, : kv.shape[3]] = kv[:, :, None]

    def move(self, sources: Sequence[int], targets: Sequence[int], tokens: int) -> None:
        """Copy the first `tokens` positions of whole rows; no target is also a source."""
        self._data[:, :, targets, :, :tokens] = self._data[:, :, sources, :, :tokens]

    def _use(self, data: Tensor) -> None:
        self._data = data
        _, _, slots, _, length, head_dim = data.shape
        self.keys = data[0].unbind(0)
        self.values = data[1].unbind(0)
        self.flat_keys = [k.view(-1, head_dim) for k in self.keys]
        self.flat_values = [v.view(-1, head_dim) for v in self.values]
        self.head_starts = torch.arange(slots * self.num_kv_heads, device=self._device) * length
        self.columns = torch.arange(length, device=self._device)


class DecodeAttention:
    """Strategy of one step: one new token a row, written at the row's end, attending to the row.

    On the CPU in fp32, batched matrix products with a plain softmax beat the fused kernel by a quarter at 64 rows of 80
    tokens (`benchmarks/native_vs_hf.py --kernels`); elsewhere the fused kernel is used.
    """

    def __init__(self, cache: SlotKVCache, lengths_R: Tensor, longest: int) -> None:
        self._cache = cache
        num_rows, num_heads, num_tokens = lengths_R.shape[0], cache.num_kv_heads, longest + 1
        self._shape = (num_rows, num_tokens)
        self._slots = cache.head_starts[: num_rows * num_heads] + lengths_R.repeat_interleave(num_heads)
        visible = cache.columns[:num_tokens] <= lengths_R[:, None]
        self._plain = lengths_R.device.type == "cpu" and cache.keys[0].dtype == torch.float32
        if self._plain:
            hidden = torch.zeros(visible.shape).masked_fill_(~visible, -math.inf)
            self._mask = hidden.repeat_interleave(num_heads, dim=0)[:, None]
        else:
            self._mask = visible[:, None, None]

    def __call__(self, layer: int, q_R1HD: Tensor, k_R1KD: Tensor, v_R1KD: Tensor) -> Tensor:
        """See `attention.Attend`; S is 1."""
        cache, (rows, tokens) = self._cache, self._shape
        head_dim = q_R1HD.shape[-1]
        cache.flat_keys[layer].index_copy_(0, self._slots, k_R1KD.reshape(-1, head_dim))
        cache.flat_values[layer].index_copy_(0, self._slots, v_R1KD.reshape(-1, head_dim))
        keys = cache.keys[layer][:rows, :, :tokens]
        values = cache.values[layer][:rows, :, :tokens]
        # The query heads that share a key head become query rows of it: no key is repeated in memory.
        queries = q_R1HD.reshape(rows, cache.num_kv_heads, -1, head_dim)
        if not self._plain:
            return F.scaled_dot_product_attention(queries, keys, values, attn_mask=self._mask).view_as(q_R1HD)
        scores = torch.baddbmm(
            self._mask, queries.flatten(0, 1), keys.flatten(0, 1).transpose(1, 2), alpha=head_dim**-0.5
        )
        return torch.bmm(scores.softmax(-1), values.flatten(0, 1)).view_as(q_R1HD)


class ExtendAttention:
    """Strategy for several new tokens a row, for rows `first..first+B-1` that hold `lengths` tokens already."""

    def __init__(self, cache: SlotKVCache, first: int, positions_BS: Tensor) -> None:
        self._cache = cache
        self._rows = slice(first, first + positions_BS.shape[0])
        self._num_tokens = int(positions_BS.max()) + 1
        self._positions = positions_BS[:, None, :, None]
        self._visible = (cache.columns[: self._num_tokens] <= positions_BS[..., None])[:, None]

    def __call__(self, layer: int, q_BSHD: Tensor, k_BSKD: Tensor, v_BSKD: Tensor) -> Tensor:
        """See `attention.Attend`."""
        keys = self._write(self._cache.keys[layer], k_BSKD)
        values = self._write(self._cache.values[layer], v_BSKD)
        y_BHSD = F.scaled_dot_product_attention(
            q_BSHD.transpose(1, 2), keys, values, attn_mask=self._visible, enable_gqa=True
        )
        return y_BHSD.transpose(1, 2)

    def _write(self, slots: Tensor, new_BSKD: Tensor) -> Tensor:
        new_BKSD = new_BSKD.transpose(1, 2)
        rows = slots[self._rows]
        rows.scatter_(2, self._positions.expand_as(new_BKSD), new_BKSD)
        return rows[:, :, : self._num_tokens]


class PrefillAttention:
    """Strategy for whole prompts from position 0; keeps the keys and values of every layer for later."""

    def __init__(self) -> None:
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    def __call__(self, layer: int, q_BSHD: Tensor, k_BSKD: Tensor, v_BSKD: Tensor) -> Tensor:
        """See `attention.Attend`."""
        self._keys.append(k_BSKD)
        self._values.append(v_BSKD)
        return causal_attention(layer, q_BSHD, k_BSKD, v_BSKD)

    def kv(self, row: int, length: int) -> Tensor:
        """`[2, L, K, length, D]` of one row, in memory of its own."""
        parts = [torch.stack([t[row, :length] for t in side]) for side in (self._keys, self._values)]
        return torch.stack(parts).transpose(2, 3).contiguous()
