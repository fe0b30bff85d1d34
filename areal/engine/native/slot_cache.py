# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What the layers keep of every live row, in contiguous slots: keys and values of tokens, or the states of recurrent layers.

Row r uses slot r, so that a step reads plain views of the first R slots: when a row leaves, the last one moves into its
place. Layers whose keys and values have the same shape share one block of memory. Used by `ArchonRunner` and its contexts.
Dimensions: L layers of a group, T tokens of a slot, P tokens of a prompt, K key heads, D key width, W value width, H heads,
C channels, S kernel size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    DecoderArgs,
    DeltaNetArgs,
    MLAArgs,
    ShortConvArgs,
)
from areal.utils.errors import ConfigError

_TOKEN_BUCKET = 16
"""Slots grow by whole buckets. Reading short slots with gaps between them breaks the prefetcher's streams: at 64 rows of 80
tokens, copying the cache every 16 steps makes a whole generation 10 % faster than leaving 64 tokens of room."""
_GROWTH = 1.125
"""Long slots grow by an eighth, so that the copies of a long generation stay a small share of its reads."""


@dataclass(frozen=True)
class TokenShape:
    """What a softmax layer keeps of a token."""

    num_heads: int
    key_width: int
    value_width: int


class TokenSlots:
    """Keys `[L, slots, K, T, D]` and values `[L, slots, K, T, W]`. Positions beyond a row's length hold old, finite numbers."""

    def __init__(self, num_layers: int, shape: TokenShape, dtype: torch.dtype, device: torch.device) -> None:
        self.shape = shape
        self._num_layers, self._dtype, self._device = num_layers, dtype, device
        self.resize(0, 0, keep=False)

    def resize(self, slots: int, length: int, keep: bool) -> None:
        """Other memory, with what was there at the start of its slots if `keep`."""
        # Zeros, not empty: a masked position is multiplied by 0, and 0 · NaN would leak into its row.
        widths = (self.shape.key_width, self.shape.value_width)
        sizes = [(self._num_layers, slots, self.shape.num_heads, length, width) for width in widths]
        keys, values = (torch.zeros(size, dtype=self._dtype, device=self._device) for size in sizes)
        if keep:
            _, old_slots, _, old_length, _ = self.keys.shape
            keys[:, :old_slots, :, :old_length] = self.keys
            values[:, :old_slots, :, :old_length] = self.values
        self.keys, self.values = keys, values
        self.flat_keys = [k.view(-1, widths[0]) for k in keys.unbind(0)]
        self.flat_values = [v.view(-1, widths[1]) for v in values.unbind(0)]
        heads = torch.arange(slots * self.shape.num_heads, device=self._device)
        self.head_starts = (heads * length).view(slots, self.shape.num_heads)

    def write_prefix(self, rows: slice, keys_LPKD: Tensor, values_LPKW: Tensor) -> None:
        """Copy one prompt to the start of the given rows."""
        length = keys_LPKD.shape[1]
        self.keys[:, rows, :, :length] = keys_LPKD.transpose(1, 2)[:, None]
        self.values[:, rows, :, :length] = values_LPKW.transpose(1, 2)[:, None]

    def move(self, sources: Sequence[int], targets: Sequence[int], length: int) -> None:
        """Copy the first `length` positions of whole rows; no target is also a source."""
        for data in (self.keys, self.values):
            data[:, targets, :, :length] = data[:, sources, :, :length]


class StateSlots:
    """Of recurrent layers: last inputs of the convolution `[L, slots, S - 1, C]` and fp32 states `[L, slots, H, D, W]`.

    Layers that only convolve have no states.
    """

    def __init__(
        self, num_layers: int, args: DeltaNetArgs | ShortConvArgs, dtype: torch.dtype, device: torch.device
    ) -> None:
        history = (args.conv_kernel - 1, args.conv_channels)
        self.histories = torch.zeros(num_layers, 0, *history, dtype=dtype, device=device)
        self.states: Tensor | None = None
        if isinstance(args, DeltaNetArgs):
            state = (args.num_value_heads, args.key_head_dim, args.value_head_dim)
            self.states = torch.zeros(num_layers, 0, *state, dtype=torch.float32, device=device)

    def resize(self, slots: int, keep: bool) -> None:
        """Other memory, with what was there if `keep`."""
        self.histories = _with_slots(self.histories, slots, keep)
        if self.states is not None:
            self.states = _with_slots(self.states, slots, keep)

    def write_prefix(self, rows: slice, histories_LSC: Tensor, states_LHDW: Tensor | None = None) -> None:
        """Start the given rows behind one prompt."""
        self.histories[:, rows] = histories_LSC[:, None]
        if self.states is not None:
            assert states_LHDW is not None
            self.states[:, rows] = states_LHDW[:, None]

    def move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copy whole rows; no target is also a source."""
        for data in (self.histories, self.states):
            if data is not None:
                data[:, targets] = data[:, sources]


class SlotCache:
    """The slots of all layers. `places[layer]` is the layer's group in `tokens` (or None: `recurrent`) and its index there."""

    def __init__(self, args: DecoderArgs, dtype: torch.dtype, device: torch.device) -> None:
        shapes = [token_shape(layer.mixer) for layer in args.layers]
        self.groups = list(dict.fromkeys(shape for shape in shapes if shape is not None))
        counts = dict.fromkeys([*self.groups, None], 0)
        self.places: list[tuple[int | None, int]] = []
        for shape in shapes:
            self.places.append((None if shape is None else self.groups.index(shape), counts[shape]))
            counts[shape] += 1
        self.tokens = [TokenSlots(counts[shape], shape, dtype, device) for shape in self.groups]
        recurrent = [layer.mixer for layer in args.layers if isinstance(layer.mixer, DeltaNetArgs | ShortConvArgs)]
        if len(kinds := set(recurrent)) > 1:
            raise ConfigError(f"expected layers without attention of one kind and size, got {sorted(map(str, kinds))}")
        self.recurrent = StateSlots(len(recurrent), recurrent[0], dtype, device) if recurrent else None
        self._device = device
        self.num_slots, self.length = 0, 0
        self.columns = torch.arange(0, device=device)

    def clear(self) -> None:
        """Give the memory back; the next `reserve` starts from zeros."""
        self._resize(0, 0, keep=False)

    def reserve(self, rows: int, tokens: int) -> bool:
        """Make room for `rows` rows of `tokens` tokens, keeping what is there; whether the memory has moved."""
        slots, length = self.num_slots, self.length
        if rows <= slots and tokens <= length:
            return False
        if rows > slots:
            slots = max(8, 1 << (rows - 1).bit_length())
        if tokens > length:
            length = math.ceil(max(tokens, length * _GROWTH) / _TOKEN_BUCKET) * _TOKEN_BUCKET
        self._resize(slots, length, keep=True)
        return True

    def write_prefix(self, rows: slice, kv: Sequence[Tensor]) -> None:
        """Start the given rows with one prompt: what `PromptContext.kept` gave of it."""
        for index, group in enumerate(self.tokens):
            group.write_prefix(rows, kv[2 * index], kv[2 * index + 1])
        if self.recurrent is not None:
            self.recurrent.write_prefix(rows, *kv[2 * len(self.tokens) :])

    def move(self, sources: Sequence[int], targets: Sequence[int], tokens: int) -> None:
        """Copy whole rows of at most `tokens` tokens; no target is also a source."""
        for group in self.tokens:
            group.move(sources, targets, tokens)
        if self.recurrent is not None:
            self.recurrent.move(sources, targets)

    def _resize(self, slots: int, length: int, keep: bool) -> None:
        for group in self.tokens:
            group.resize(slots, length, keep)
        if self.recurrent is not None:
            self.recurrent.resize(slots, keep)
        self.num_slots, self.length = slots, length
        self.columns = torch.arange(length, device=self._device)


def token_shape(mixer: AttentionArgs | MLAArgs | DeltaNetArgs | ShortConvArgs) -> TokenShape | None:
    """What a mixer keeps of each token; None for those that keep a state of all tokens instead."""
    if isinstance(mixer, AttentionArgs):
        return TokenShape(mixer.num_kv_heads, mixer.qk_width, mixer.value_head_dim)
    if isinstance(mixer, MLAArgs):
        return TokenShape(mixer.num_heads, mixer.nope_head_dim + mixer.rope_head_dim, mixer.value_head_dim)
    return None


def _with_slots(old: Tensor, slots: int, keep: bool) -> Tensor:
    grown = old.new_zeros(old.shape[0], slots, *old.shape[2:])
    if keep:
        grown[:, : old.shape[1]] = old
    return grown
