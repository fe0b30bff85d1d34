# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The mixing context of decoding: one new token a row, written at the row's end, meeting what the row's slot holds.

Made by `ArchonRunner`, which calls `advance` before each pass of the model. Dimensions: R rows, T tokens of a slot, K key heads,
H query heads (a multiple of K), D key width, W value width, C channels, S kernel size.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from areal.engine.native.slot_cache import SlotCache, TokenSlots
from areal.experimental.models.archon.kernels.conv import conv_step
from areal.experimental.models.archon.kernels.delta_rule import delta_rule_step
from areal.experimental.models.archon.model_args import ScoreArgs


class DecodeContext:
    """See `MixingContext`. Lives as long as the rows and the cache's memory stay what they are.

    `positions_R` are those of the tokens of the current step.
    """

    def __init__(self, cache: SlotCache, lengths_R: Tensor) -> None:
        """`lengths_R`, int64 on the cache's device: tokens that each row holds before the first `advance`."""
        self.positions_R = lengths_R - 1
        self._cache = cache
        self._groups = [_GroupSteps(group, cache, lengths_R) for group in cache.tokens]

    def advance(self, num_tokens: int) -> None:
        """Begin a step; `num_tokens` are those of the longest row, the new one included."""
        self.positions_R += 1
        for group in self._groups:
            group.advance(num_tokens, self.positions_R)

    def attend(
        self, layer: int, q_RHD: Tensor, k_RKD: Tensor, v_RKW: Tensor, score: ScoreArgs, sinks_H: Tensor | None
    ) -> Tensor:
        """See `MixingContext`."""
        group, index = self._cache.places[layer]
        assert group is not None, "a layer that keeps tokens"
        return self._groups[group].attend(index, q_RHD, k_RKD, v_RKW, score, sinks_H)

    def convolve(self, layer: int, x_RC: Tensor, weight_CS: Tensor) -> Tensor:
        """See `MixingContext`."""
        histories = self._states(self._cache.recurrent.histories, layer)
        y, history = conv_step(x_RC, weight_CS, histories)
        histories.copy_(history)
        return y

    def delta_rule(
        self, layer: int, q_RHD: Tensor, k_RHD: Tensor, v_RHW: Tensor, log_decay_RH: Tensor, beta_RH: Tensor
    ) -> Tensor:
        """See `MixingContext`."""
        states = self._states(self._cache.recurrent.states, layer)
        y, state = delta_rule_step(q_RHD, k_RHD, v_RHW, log_decay_RH, beta_RH, states)
        states.copy_(state)
        return y

    def sequence_lengths(self) -> Tensor:
        """See `MixingContext`."""
        return self.positions_R + 1

    def _states(self, data: Tensor, layer: int) -> Tensor:
        """The rows' part of what recurrent layers keep: a view."""
        return data[self._cache.places[layer][1], : len(self.positions_R)]


class _GroupSteps:
    """The steps of layers of one shape: where they write, and a bias for each way in which tokens are hidden from them."""

    def __init__(self, slots: TokenSlots, cache: SlotCache, lengths_R: Tensor) -> None:
        rows = len(lengths_R)
        self._slots, self._cache, self._lengths_R = slots, cache, lengths_R
        self._index = (slots.head_starts[:rows] + (lengths_R - 1)[:, None]).view(-1)
        keys, values = slots.keys[:, :rows], slots.values[:, :rows]
        # On the CPU in fp32, batched matrix products with a plain softmax take three quarters of the fused kernel's time at
        # 64 rows of 80 tokens. The query heads that share a key head become query rows of it: no key is repeated.
        self._is_plain = keys.device.type == "cpu" and keys.dtype == torch.float32
        self._all_keys, self._all_values = keys.flatten(1, 2), values.flatten(1, 2)
        self._biases: dict[tuple[int | None, int | None], _Bias] = {}

    def advance(self, num_tokens: int, positions_R: Tensor) -> None:
        self._index += 1
        self._positions_R, self._num_tokens = positions_R, num_tokens
        self._keys = self._all_keys.narrow(-2, 0, num_tokens).unbind(0)
        self._values = self._all_values.narrow(-2, 0, num_tokens).unbind(0)
        for bias in self._biases.values():
            bias.advance(self._index, positions_R)

    def attend(
        self, index: int, q_RHD: Tensor, k_RKD: Tensor, v_RKW: Tensor, score: ScoreArgs, sinks_H: Tensor | None
    ) -> Tensor:
        """`[R, H, W]` of the layer at `index` of the group."""
        slots, (rows, heads, width) = self._slots, k_RKD.shape
        slots.flat_keys[index].index_copy_(0, self._index, k_RKD.reshape(-1, width))
        slots.flat_values[index].index_copy_(0, self._index, v_RKW.reshape(-1, v_RKW.shape[-1]))
        keys, values, bias = self._keys[index], self._values[index], self._bias_of(score)
        queries = q_RHD.reshape(rows * heads, -1, width)
        if sinks_H is None and score.softcap is None:
            if self._is_plain:
                scores = torch.baddbmm(bias, queries, keys.transpose(1, 2), alpha=score.scale)
                return torch.bmm(scores.softmax(-1), values).view(rows, -1, values.shape[-1])
            # One batch dimension more than bmm: the fused kernels want it.
            four = (t.unsqueeze(1) for t in (queries, keys, values))
            y = F.scaled_dot_product_attention(*four, attn_mask=bias.unsqueeze(1), scale=score.scale)
            return y.view(rows, -1, values.shape[-1])
        scores = torch.bmm(queries, keys.transpose(1, 2)).float() * score.scale
        if score.softcap is not None:
            scores = torch.tanh(scores / score.softcap) * score.softcap
        probs = softmax_with_sinks(scores + bias, None if sinks_H is None else sinks_H.view(heads, -1).repeat(rows, 1))
        return torch.bmm(probs.to(values.dtype), values).view(rows, -1, values.shape[-1])

    def _bias_of(self, score: ScoreArgs) -> Tensor:
        """Additive `[R K, 1, num_tokens]`, -inf where the row's new token does not see a position."""
        key = (score.window, score.chunk)
        if key not in self._biases:
            heads = self._slots.shape.num_heads
            self._biases[key] = _Bias(*key, self._positions_R, heads, self._cache, self._slots.keys.dtype)
        return self._biases[key].rows(self._num_tokens)


class _Bias:
    """Which positions of its slot a row's new token sees; kept from step to step, so that a step touches a few numbers."""

    def __init__(
        self,
        window: int | None,
        chunk: int | None,
        positions_R: Tensor,
        num_heads: int,
        cache: SlotCache,
        dtype: torch.dtype,
    ) -> None:
        self._window, self._chunk, self._num_heads, self._columns = window, chunk, num_heads, cache.columns
        # Laid out as the keys are, less their width: a slot index of the keys is one of the bias.
        self._data = torch.zeros(
            len(positions_R) * num_heads, len(cache.columns), dtype=dtype, device=cache.columns.device
        )
        self._fill(positions_R)

    def advance(self, index: Tensor, positions_R: Tensor) -> None:
        """The new tokens at `index` `[R K]` are visible; those that leave the window are not any more."""
        if self._chunk is not None:
            self._fill(positions_R)
            return
        flat = self._data.view(-1)
        flat.index_fill_(0, index, 0.0)
        if self._window is not None:
            has_left = (positions_R >= self._window).repeat_interleave(self._num_heads)
            # A row that is shorter than the window writes its own visible position again.
            flat.index_copy_(
                0,
                torch.where(has_left, index - self._window, index),
                torch.where(has_left, -math.inf, 0.0).to(flat.dtype),
            )

    def rows(self, num_tokens: int) -> Tensor:
        """`[R K, 1, num_tokens]`, a view."""
        return self._data.narrow(-1, 0, num_tokens).unsqueeze(-2)

    def _fill(self, positions_R: Tensor) -> None:
        hidden_RT = ~visible(positions_R[:, None], self._columns, self._window, self._chunk)
        self._data.zero_().masked_fill_(hidden_RT.repeat_interleave(self._num_heads, 0), -math.inf)


def visible(positions: Tensor, columns: Tensor, window: int | None, chunk: int | None) -> Tensor:
    """Bool, broadcast: whether a token at `positions` sees one at `columns` of its row."""
    seen = columns <= positions
    if window is not None:
        seen &= columns > positions - window
    if chunk is not None:
        seen &= columns // chunk == positions // chunk
    return seen


def softmax_with_sinks(scores: Tensor, sinks: Tensor | None) -> Tensor:
    """Softmax over the last dim of `[B, n, T]`; `sinks` `[B, n]` join the denominator alone."""
    if sinks is None:
        return scores.softmax(-1)
    return torch.cat((scores, sinks.to(scores.dtype).unsqueeze(-1)), dim=-1).softmax(-1)[..., :-1]
