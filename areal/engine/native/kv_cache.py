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

from areal.experimental.models.archon.attention import CausalRows

_TOKEN_BUCKET = 16
"""Slots grow by whole buckets. Reading short slots with gaps between them breaks the prefetcher's streams: at 64 rows of 80
tokens, copying the cache every 16 steps makes a whole generation 10 % faster than leaving 64 tokens of room."""
_GROWTH = 1.125
"""Long slots grow by an eighth, so that the copies of a long generation stay a small share of its reads."""


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

    def reserve(self, rows: int, tokens: int) -> bool:
        """Make room for `rows` rows of `tokens` tokens, keeping what is there; whether the memory has moved."""
        slots, length = self.capacity
        if rows <= slots and tokens <= length:
            return False
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
        return True

    def write_prefix(self, rows: slice, kv: Tensor) -> None:
        """Copy one prompt's `[2, L, K, P, D]` to the start of the given rows."""
        self._data[:, :, rows, :, : kv.shape[3]] = kv[:, :, None]

    def move(self, sources: Sequence[int], targets: Sequence[int], tokens: int) -> None:
        """Copy the first `tokens` positions of whole rows; no target is also a source."""
        self._data[:, :, targets, :, :tokens] = self._data[:, :, sources, :, :tokens]

    def view(self, rows: slice, tokens: int) -> tuple[Tensor, Tensor]:
        """Keys and values `[L, R, K, tokens, D]` of a range of rows, without a copy."""
        keys, values = self._data[:, :, rows, :, :tokens].unbind(0)
        return keys, values

    def _use(self, data: Tensor) -> None:
        self._data = data
        _, _, slots, heads, length, head_dim = data.shape
        self.flat_keys = [k.view(-1, head_dim) for k in data[0].unbind(0)]
        self.flat_values = [v.view(-1, head_dim) for v in data[1].unbind(0)]
        self.head_starts = (torch.arange(slots * heads, device=self._device) * length).view(slots, heads)
        self.columns = torch.arange(length, device=self._device)


class DecodeAttention:
    """Strategy of steps of one new token a row, written at the row's end, attending to the row.

    Lives as long as the rows and the cache's memory stay what they are; `advance` leads from token to token, so that a step
    touches one column of the bias and one slot index a row instead of building both. `positions_R` are those of the tokens
    of the current step.

    On the CPU in fp32, batched matrix products with a plain softmax take three quarters of the fused kernel's time at 64
    rows of 80 tokens; elsewhere the fused kernel is used. The query heads that share a key head become query rows of it,
    so that no key is repeated in memory.
    """

    def __init__(self, cache: SlotKVCache, lengths_R: Tensor) -> None:
        """`lengths_R`, int64 on the cache's device: tokens that each row holds before the first `advance`."""
        num_rows = lengths_R.shape[0]
        self.positions_R = lengths_R - 1
        self._cache = cache
        self._slots = (cache.head_starts[:num_rows] + self.positions_R[:, None]).view(-1)
        keys, values = cache.view(slice(num_rows), cache.capacity[1])
        hidden_RT = (cache.columns >= lengths_R[:, None])[:, None].expand(-1, cache.num_kv_heads, -1)
        self._bias = torch.zeros(hidden_RT.shape, dtype=keys.dtype, device=keys.device)
        self._bias.masked_fill_(hidden_RT, -math.inf)
        self._flat_bias = self._bias.view(-1)
        self._plain = keys.device.type == "cpu" and keys.dtype == torch.float32
        if self._plain:
            # bmm wants one batch dimension: rows and heads together.
            keys, values, self._bias = keys.flatten(1, 2), values.flatten(1, 2), self._bias.flatten(0, 1)
        self._all_keys, self._all_values = keys, values

    def advance(self, num_tokens: int) -> None:
        """Begin a step; `num_tokens` are those of the longest row, the new one included."""
        self.positions_R += 1
        self._slots += 1
        self._flat_bias.index_fill_(0, self._slots, 0.0)  # the bias is laid out as the keys are, less their width
        self._keys = self._all_keys.narrow(-2, 0, num_tokens).unbind(0)
        self._values = self._all_values.narrow(-2, 0, num_tokens).unbind(0)
        self._step_bias = self._bias.narrow(-1, 0, num_tokens).unsqueeze(-2)

    def __call__(self, layer: int, q_RHD: Tensor, k_RKD: Tensor, v_RKD: Tensor) -> Tensor:
        """See `attention.Attend`."""
        cache, (rows, heads, head_dim) = self._cache, k_RKD.shape
        cache.flat_keys[layer].index_copy_(0, self._slots, k_RKD.reshape(-1, head_dim))
        cache.flat_values[layer].index_copy_(0, self._slots, v_RKD.reshape(-1, head_dim))
        keys, values = self._keys[layer], self._values[layer]
        if not self._plain:
            queries = q_RHD.reshape(rows, heads, -1, head_dim)
            return F.scaled_dot_product_attention(queries, keys, values, attn_mask=self._step_bias).view(q_RHD.shape)
        queries = q_RHD.reshape(rows * heads, -1, head_dim)
        scores = torch.baddbmm(self._step_bias, queries, keys.transpose(1, 2), alpha=head_dim**-0.5)
        return torch.bmm(scores.softmax(-1), values).view(q_RHD.shape)


class ExtendAttention:
    """Strategy for S new tokens a row, at `positions_BS` of the rows `first..first+B-1`, attending to all before them."""

    def __init__(self, cache: SlotKVCache, first: int, positions_BS: Tensor) -> None:
        num_rows, num_tokens = positions_BS.shape[0], int(positions_BS.max()) + 1
        self._shape = positions_BS.shape
        self._keys, self._values = cache.view(slice(first, first + num_rows), num_tokens)
        self._positions = positions_BS[:, None, :, None]
        self._visible = (cache.columns[:num_tokens] <= positions_BS[..., None])[:, None]

    def __call__(self, layer: int, q_NHD: Tensor, k_NKD: Tensor, v_NKD: Tensor) -> Tensor:
        """See `attention.Attend`."""
        keys = self._write(self._keys[layer], k_NKD)
        values = self._write(self._values[layer], v_NKD)
        q_BHSD = q_NHD.unflatten(0, self._shape).transpose(1, 2)
        y_BHSD = F.scaled_dot_product_attention(q_BHSD, keys, values, attn_mask=self._visible, enable_gqa=True)
        return y_BHSD.transpose(1, 2).flatten(0, 1)

    def _write(self, rows: Tensor, new_NKD: Tensor) -> Tensor:
        new_BKSD = new_NKD.unflatten(0, self._shape).transpose(1, 2)
        return rows.scatter_(2, self._positions.expand_as(new_BKSD), new_BKSD)


class PrefillAttention:
    """Strategy for whole prompts from position 0; keeps the keys and values of all layers, `[2, L, B, K, S, D]`."""

    def __init__(self, num_layers: int, num_rows: int) -> None:
        self._num_layers, self._num_rows = num_layers, num_rows
        self._attend = CausalRows(num_rows)
        self._kv: Tensor | None = None

    def __call__(self, layer: int, q_NHD: Tensor, k_NKD: Tensor, v_NKD: Tensor) -> Tensor:
        """See `attention.Attend`."""
        num_tokens, num_heads, head_dim = k_NKD.shape
        if self._kv is None:
            shape = (2, self._num_layers, self._num_rows, num_heads, num_tokens // self._num_rows, head_dim)
            self._kv = k_NKD.new_empty(shape)
        self._kv[0, layer] = k_NKD.unflatten(0, (self._num_rows, -1)).transpose(1, 2)
        self._kv[1, layer] = v_NKD.unflatten(0, (self._num_rows, -1)).transpose(1, 2)
        return self._attend(layer, q_NHD, k_NKD, v_NKD)

    def kv(self, row: int, length: int) -> Tensor:
        """`[2, L, K, length, D]` of one row: a view, the prompts of a call share their memory."""
        assert self._kv is not None, "the decoder has not run"
        return self._kv[:, :, row, :, :length]
