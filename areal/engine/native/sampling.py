# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Draws one token a row, each row by its own parameters and its own stream of random numbers.

A draw is one uniform number and the inverse of the row's cumulative distribution, so its randomness costs nothing and never
depends on the batch. Order of operations, as in vLLM: stop ids held back below `min_new_tokens`, temperature, top-k, top-p.
The log-prob returned is that of the resulting, renormalised distribution; greedy rows take the most likely token and report
its log-prob under the plain softmax. Used by the scheduler. Dimensions: R rows, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from areal.engine.native.messages import SamplingParams

_GOLDEN = 0x9E3779B97F4A7C15
_MASK64 = 2**64 - 1
_SERVER_DOMAIN = 0x6172656100000001
"""Keeps the streams of requests without a seed apart from those of explicit seeds."""
_DRAW_BLOCK = 32
"""Tokens of a block of `draw`; 16 to 128 take the same time."""
_BELOW_ONE = 1.0 - 2.0**-52
_STEPS_AHEAD = 16
"""Most steps whose uniform numbers are made in one go: numpy's overhead is per call, not per number."""


def uniforms(keys: NDArray[np.uint64], counters: NDArray[np.uint64]) -> NDArray[np.float64]:
    """One number in [0, 1) for each (key, counter): SplitMix64 (Steele, Lea & Flood 2014) read at position `counter`.

    52 bits, so that u times a total is always below the total, also after rounding.
    """
    z = keys + (counters + np.uint64(1)) * np.uint64(_GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(12)) * 2.0**-52


def seed_key(seed: int) -> int:
    """The stream of an explicit seed; hashing first keeps neighbouring seeds from sharing a sequence."""
    return _mix(seed + _GOLDEN)


def server_key(server_seed: int, ordinal: int) -> int:
    """The stream of the `ordinal`-th request that came without a seed."""
    return _mix(_mix(server_seed ^ _SERVER_DOMAIN) + ordinal * _GOLDEN)


def _mix(value: int) -> int:
    z = value & _MASK64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK64
    return z ^ (z >> 31)


def draw(probs_RV: Tensor, uniforms_R: Tensor) -> Tensor:
    """The first token whose cumulative probability exceeds u, int64 `[R]`; a token of probability 0 is never drawn.

    First the block of W tokens, then the token in it. Sums inside a block run in fp32, whose error is relative to the
    block's own mass, and all others in fp64, so that rare tokens of a large vocabulary keep their share; at 150k tokens this
    takes 1/20 of the time of one fp64 sum over the row.
    """
    vocab_size = probs_RV.shape[1]
    if vocab_size % _DRAW_BLOCK:
        probs_RV = F.pad(probs_RV, (0, -vocab_size % _DRAW_BLOCK))
    blocks_RBW = probs_RV.unflatten(-1, (-1, _DRAW_BLOCK))
    mass_RB = blocks_RBW.sum(-1).double()
    cdf_RB = mass_RB.cumsum(-1)
    target_R1 = uniforms_R[:, None] * cdf_RB[:, -1:]
    block_R1 = torch.searchsorted(cdf_RB, target_R1, right=True).clamp_(max=cdf_RB.shape[1] - 1)
    block_R1W = blocks_RBW.gather(1, block_R1[:, :, None].expand(-1, -1, _DRAW_BLOCK))
    cdf_RW = block_R1W[:, 0].cumsum(-1, dtype=torch.float64)
    rest_R1 = target_R1 - (cdf_RB - mass_RB).gather(1, block_R1)
    # Rounding must not lead out of the block's support: below 0, or to its total and so past its last likely token.
    rest_R1 = torch.minimum(rest_R1, cdf_RW[:, -1:] * _BELOW_ONE).clamp_(min=0.0)
    tokens_R1 = torch.searchsorted(cdf_RW, rest_R1, right=True).add_(block_R1, alpha=_DRAW_BLOCK)
    return tokens_R1[:, 0].clamp_(max=vocab_size - 1)  # rows of NaN end here; the scheduler fails them


def keep_top(logits_RV: Tensor, top_k_R: Tensor, top_p_R: Tensor) -> Tensor:
    """Logits with -inf outside the k most likely tokens and outside the smallest set of at least probability p.

    Top-p is judged on the distribution left by top-k; ties go to the lower token id; at least one token stays.
    """
    sorted_RV, order_RV = logits_RV.sort(dim=-1, descending=True, stable=True)
    rank_V = torch.arange(logits_RV.shape[1], device=logits_RV.device)
    sorted_RV = sorted_RV.masked_fill(rank_V >= top_k_R[:, None], -math.inf)
    probs_RV = sorted_RV.softmax(-1, dtype=torch.float64)
    before_RV = probs_RV.cumsum(-1) - probs_RV
    sorted_RV = sorted_RV.masked_fill((before_RV >= top_p_R[:, None]) & (rank_V > 0), -math.inf)
    return torch.empty_like(logits_RV).scatter_(1, order_RV, sorted_RV)


@dataclass(frozen=True, kw_only=True)
class _Adjustments:
    """What differs from plain sampling at temperature 1, as tensors over the rows of one batch membership."""

    may_hold_back: bool
    temperature: Tensor | None
    is_greedy: Tensor | None
    filtered_rows: Tensor | None
    top_k: Tensor
    top_p: Tensor


class RowSampler:
    """Sampling state of the rows of a batch, in the batch's order; `max_rows` at most.

    Rows join with `add`, are reordered or dropped with `retain`, and every `sample` moves its rows' counters on by one.
    """

    def __init__(self, max_rows: int, device: torch.device) -> None:
        self._device = device
        self._params: list[SamplingParams] = []
        self._stop_ids: list[Tensor] = []
        self._keys = np.zeros(max_rows, np.uint64)
        self._counters = np.zeros(max_rows, np.uint64)
        self._free_to_stop = np.zeros(max_rows, np.uint64)  # the counter from which stop ids may be drawn
        self._ahead: Sequence[Tensor] = ()  # uniform numbers of the next steps of `_ahead_rows`
        self._ahead_rows, self._num_taken = slice(0), 0
        self._adjustments_rows = slice(0)
        self._forget_rows()

    def __len__(self) -> int:
        return len(self._params)

    def add(self, params: SamplingParams, stop_ids: Iterable[int], key: int) -> None:
        """A new last row, drawing from stream `key`; `stop_ids` are the ids held back below `min_new_tokens`."""
        self._forget_rows()
        row = len(self._params)
        self._params.append(params)
        self._stop_ids.append(torch.tensor(sorted(stop_ids), dtype=torch.long, device=self._device))
        self._keys[row] = key
        self._counters[row] = params.rng_offset
        self._free_to_stop[row] = params.rng_offset + params.min_new_tokens

    def retain(self, order: Sequence[int]) -> None:
        """The new row i is the old row `order[i]`; rows not named are gone."""
        self._forget_rows()
        count = len(order)
        self._params = [self._params[i] for i in order]
        self._stop_ids = [self._stop_ids[i] for i in order]
        for array in (self._keys, self._counters, self._free_to_stop):
            array[:count] = array[order]

    def sample(self, logits_RV: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
        """Tokens int64 `[R]` and their log-probs fp32 `[R]` for the rows `first..first+R-1` of fp32 logits."""
        rows = slice(first, first + logits_RV.shape[0])
        adjust = self._adjustments_of(rows)
        if adjust.may_hold_back:
            logits_RV = self._hold_back_stops(logits_RV, rows)
        if adjust.temperature is not None:
            logits_RV = logits_RV / adjust.temperature[:, None]
        if adjust.filtered_rows is not None:
            kept = keep_top(logits_RV[adjust.filtered_rows], adjust.top_k, adjust.top_p)
            logits_RV = logits_RV.index_copy(0, adjust.filtered_rows, kept)
        probs_RV = logits_RV.softmax(-1)
        tokens_R = draw(probs_RV, self._next_uniforms(rows))
        if adjust.is_greedy is not None:
            tokens_R = torch.where(adjust.is_greedy, logits_RV.argmax(-1), tokens_R)
        return tokens_R, probs_RV.gather(1, tokens_R[:, None])[:, 0].log()

    def _forget_rows(self) -> None:
        """Drop what was computed for the rows as they were."""
        self._count_taken()
        self._ahead = ()
        self._steps_ahead = 1
        self._adjustments: _Adjustments | None = None

    def _count_taken(self) -> None:
        """Move the counters on by the numbers taken from `_ahead`, which stays."""
        self._counters[self._ahead_rows] += np.uint64(self._num_taken)
        self._ahead, self._num_taken = self._ahead[self._num_taken :], 0

    def _next_uniforms(self, rows: slice) -> Tensor:
        """fp64 `[R]` at the rows' counters; rows that stay the same get twice as many steps at a time as before."""
        if rows != self._ahead_rows or self._num_taken == len(self._ahead):
            self._count_taken()
            counters_SR = self._counters[rows] + np.arange(self._steps_ahead, dtype=np.uint64)[:, None]
            ahead_SR = torch.from_numpy(uniforms(self._keys[rows], counters_SR)).to(self._device)
            self._ahead, self._ahead_rows = ahead_SR.unbind(0), rows
            self._steps_ahead = min(2 * self._steps_ahead, _STEPS_AHEAD)
        self._num_taken += 1
        return self._ahead[self._num_taken - 1]

    def _hold_back_stops(self, logits_RV: Tensor, rows: slice) -> Tensor:
        self._count_taken()
        early = np.flatnonzero(self._counters[rows] < self._free_to_stop[rows])
        if early.size == 0:
            return logits_RV
        logits_RV = logits_RV.clone()
        for row in early.tolist():
            logits_RV[row, self._stop_ids[rows.start + row]] = -math.inf
        return logits_RV

    def _adjustments_of(self, rows: slice) -> _Adjustments:
        if self._adjustments is None or self._adjustments_rows != rows:
            self._adjustments = _adjustments(self._params[rows], self._device)
            self._adjustments_rows = rows
        return self._adjustments


def _adjustments(params: Sequence[SamplingParams], device: torch.device) -> _Adjustments:
    greedy = [p.is_greedy for p in params]
    temperature = [1.0 if is_greedy else p.temperature for p, is_greedy in zip(params, greedy)]
    filtered = [row for row, p in enumerate(params) if not greedy[row] and (p.top_p < 1.0 or p.top_k > 0)]
    top_k = [params[row].top_k if params[row].top_k > 0 else 2**62 for row in filtered]

    def tensor(values: list, dtype: torch.dtype) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=device)

    return _Adjustments(
        may_hold_back=any(p.min_new_tokens > 0 for p in params),
        temperature=tensor(temperature, torch.float32) if any(t != 1.0 for t in temperature) else None,
        is_greedy=tensor(greedy, torch.bool) if any(greedy) else None,
        filtered_rows=tensor(filtered, torch.long) if filtered else None,
        top_k=tensor(top_k, torch.long),
        top_p=tensor([params[row].top_p for row in filtered], torch.float64),
    )
