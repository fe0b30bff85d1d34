# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The mixing contexts of computing many tokens at once: whole prompts, and what rows had generated, after a weight swap.

Made by `ArchonRunner`. Dimensions: N tokens, B rows of S new tokens, T cached tokens, K key heads, H query heads, D key width,
W value width, C channels, P tokens of a prompt.
"""

from __future__ import annotations

import torch
from torch import Tensor

from areal.engine.native.decode_context import softmax_with_sinks, visible
from areal.engine.native.slot_cache import SlotCache
from areal.experimental.models.archon.contexts.packed import PackedContext
from areal.experimental.models.archon.kernels.conv import causal_conv, last_inputs
from areal.experimental.models.archon.kernels.delta_rule import delta_rule
from areal.experimental.models.archon.model_args import DecoderArgs, ScoreArgs
from areal.models.packed_attention.layout import PackedLayout


class PromptContext:
    """See `MixingContext`: whole prompts packed one after another, as in training; keeps what decoding needs of them."""

    def __init__(self, args: DecoderArgs, cache: SlotCache, lengths: list[int], device: torch.device) -> None:
        layout = PackedLayout.from_lengths(lengths, device)
        self.positions_N = layout.position_ids()
        self.last_rows_B = layout.cu_seqlens[1:].long() - 1
        self._lengths = layout.seq_lens
        self._packed = PackedContext.of_layout(args, layout)
        self._cache = cache
        self._tokens: list[tuple[list[Tensor], list[Tensor]]] = [([], []) for _ in cache.tokens]
        self._histories: list[Tensor] = []
        self._states: list[Tensor] = []

    def attend(
        self, layer: int, q_NHD: Tensor, k_NKD: Tensor, v_NKW: Tensor, score: ScoreArgs, sinks_H: Tensor | None
    ) -> Tensor:
        """See `MixingContext`."""
        group, _ = self._cache.places[layer]
        assert group is not None, "a layer that keeps tokens"
        keys, values = self._tokens[group]
        keys.append(k_NKD)
        values.append(v_NKW)
        return self._packed.attend(layer, q_NHD, k_NKD, v_NKW, score, sinks_H)

    def convolve(self, layer: int, x_NC: Tensor, weight_CS: Tensor) -> Tensor:
        """See `MixingContext`."""
        self._histories.append(last_inputs(x_NC, weight_CS.shape[-1], self._lengths))
        return causal_conv(x_NC, weight_CS, self._lengths)

    def delta_rule(
        self, layer: int, q_NHD: Tensor, k_NHD: Tensor, v_NHW: Tensor, log_decay_NH: Tensor, beta_NH: Tensor
    ) -> Tensor:
        """See `MixingContext`."""
        y, states = delta_rule(q_NHD, k_NHD, v_NHW, log_decay_NH, beta_NH, self._lengths)
        self._states.append(states)
        return y

    def sequence_lengths(self) -> Tensor:
        """See `MixingContext`."""
        return self._packed.sequence_lengths()

    def kept(self) -> list[tuple[Tensor, ...]]:
        """Of each prompt: keys `[L, P, K, D]` and values `[L, P, K, W]` of each group, then histories and states.

        Views: the prompts of a call share their memory.
        """
        by_prompt: list[list[Tensor]] = [[] for _ in self._lengths]
        for sides in self._tokens:
            for side in sides:
                for kept, part in zip(by_prompt, torch.stack(side).split(self._lengths, dim=1), strict=True):
                    kept.append(part)
        if self._cache.recurrent is not None:
            for data in (self._histories, self._states):  # convolutions alone have no states
                for kept, part in zip(by_prompt, torch.stack(data, dim=1) if data else ()):
                    kept.append(part)
        return [tuple(kept) for kept in by_prompt]


class ExtendContext:
    """See `MixingContext`: S new tokens a row, at `positions_BS` of the rows from `first` on, after all that these hold.

    For layers that keep tokens only: a state cannot be continued over padding.
    """

    def __init__(self, cache: SlotCache, first: int, positions_BS: Tensor) -> None:
        self._cache, self._shape = cache, positions_BS.shape
        self._rows = slice(first, first + positions_BS.shape[0])
        self._positions_BS, self._num_tokens = positions_BS, int(positions_BS.max()) + 1

    def attend(
        self, layer: int, q_NHD: Tensor, k_NKD: Tensor, v_NKW: Tensor, score: ScoreArgs, sinks_H: Tensor | None
    ) -> Tensor:
        """See `MixingContext`."""
        group, index = self._cache.places[layer]
        assert group is not None, "a layer that keeps tokens"
        slots = self._cache.tokens[group]
        keys = self._write(slots.keys[index], k_NKD)
        values = self._write(slots.values[index], v_NKW)
        num_kv_heads = keys.shape[1]
        q_BKGSD = q_NHD.unflatten(0, self._shape).transpose(1, 2).unflatten(1, (num_kv_heads, -1))
        scores = torch.matmul(q_BKGSD, keys[:, :, None].transpose(-1, -2)).float() * score.scale
        if score.softcap is not None:
            scores = torch.tanh(scores / score.softcap) * score.softcap
        seen_BST = visible(
            self._positions_BS[..., None], self._cache.columns[: self._num_tokens], score.window, score.chunk
        )
        scores = scores.masked_fill(~seen_BST[:, None, None], float("-inf"))
        sinks = None
        if sinks_H is not None:
            sinks = sinks_H.view(1, num_kv_heads, -1, 1).expand(scores.shape[:-1])
        y = torch.matmul(softmax_with_sinks(scores, sinks).to(values.dtype), values[:, :, None])
        return y.flatten(1, 2).transpose(1, 2).flatten(0, 1)

    def convolve(self, layer: int, x_NC: Tensor, weight_CS: Tensor) -> Tensor:
        """Never called; see the class."""
        raise AssertionError("a model with recurrent layers computes whole sequences anew")

    def delta_rule(
        self, layer: int, q_NHD: Tensor, k_NHD: Tensor, v_NHW: Tensor, log_decay_NH: Tensor, beta_NH: Tensor
    ) -> Tensor:
        """Never called; see the class."""
        raise AssertionError("a model with recurrent layers computes whole sequences anew")

    def sequence_lengths(self) -> Tensor:
        """See `MixingContext`."""
        return self._positions_BS.flatten() + 1

    def _write(self, data: Tensor, new_NKD: Tensor) -> Tensor:
        """The rows' keys or values `[B, K, T, D]`, the new ones included."""
        rows = data[self._rows, :, : self._num_tokens]
        new_BKSD = new_NKD.unflatten(0, self._shape).transpose(1, 2)
        return rows.scatter_(2, self._positions_BS[:, None, :, None].expand_as(new_BKSD), new_BKSD)
