# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Causal attention of one long sequence in blocks of queries: memory linear in its length, scores made again for gradients.

For what SDPA does not compute, or only with an `[L, M]` mask: windows, soft caps, sinks, a shared prefix before the
queries. Called by `dense`. Shapes: L queries, M >= L keys, H query heads, K key heads, G = H / K, D and W head sizes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores of one block of queries, in elements: 2^19 floats are 2 MB, about the cache of a core. Larger blocks were slower.
MAX_SCORES = 1 << 19
# Products of fewer rows are slow, windows waste what a block is longer than them.
MIN_BLOCK_ROWS, MAX_BLOCK_ROWS = 32, 512


@dataclass(frozen=True)
class ScoreOptions:
    """How scores become weights; see `dense_packed_attention`."""

    scale: float
    window: int | None = None
    softcap: float | None = None


def blocked_attention(
    q_LHD: Tensor, k_MKD: Tensor, v_MKW: Tensor, options: ScoreOptions, sinks_H: Tensor | None = None
) -> Tensor:
    """`[L, H, W]`, the queries being the last L of M tokens."""
    return _BlockedAttention.apply(q_LHD, k_MKD, v_MKW, sinks_H, options)


def widened(scores: Tensor) -> Tensor:
    """Scores of low precision in fp32, where they are scaled and normalised, as HF's eager attention does."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def attention_weights(scores: Tensor, sinks: Tensor | None) -> Tensor:
    """Softmax over the last dimension, with sinks (broadcast against `[..., 1]`) in the denominator only; uses up `scores`."""
    if sinks is None:
        return torch.softmax(scores, dim=-1)
    highest = torch.maximum(scores.amax(-1, keepdim=True), sinks)
    weights = scores.sub_(highest).exp_()
    return weights.div_(weights.sum(-1, keepdim=True).add_((sinks - highest).exp_()))


def scores_backward(grad_weights: Tensor, weights: Tensor) -> Tensor:
    """p · (dp - Σ_j p_j dp_j), true with sinks as well: their value is zero. Hidden keys have p = 0.

    The sum over a row is p_sink · Σ_j p_j dp_j, so that a sink's gradient is minus the sum over its rows.
    """
    return torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)


@dataclass(frozen=True)
class _Block:
    """Queries `[start, stop)` and the keys `[first, last)` any of them sees; hidden `[rows, tail]` over the last keys."""

    start: int
    stop: int
    first: int
    last: int
    hidden: Tensor


def _blocks(num_queries: int, num_keys: int, num_heads: int, window: int | None, like: Tensor) -> Iterator[_Block]:
    span = num_keys if window is None else min(window, num_keys)
    rows = min(max(MAX_SCORES // (num_heads * span), MIN_BLOCK_ROWS), MAX_BLOCK_ROWS)
    offset = num_keys - num_queries
    for start in range(0, num_queries, rows):
        stop = min(start + rows, num_queries)
        first = 0 if window is None else max(0, offset + start - window + 1)
        last = offset + stop
        # Without a window only keys beside the block can lie after a query.
        masked_from = offset + start if window is None else first
        queries = torch.arange(offset + start, last, device=like.device).unsqueeze(1)
        ahead = queries - torch.arange(masked_from, last, device=like.device)
        hidden = ahead < 0 if window is None else (ahead < 0) | (ahead >= window)
        yield _Block(start, stop, first, last, hidden)


class _BlockedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, options: ScoreOptions) -> Tensor:
        ctx.options, ctx.num_heads = options, q.shape[1]
        q_KGLD, k_KMD, v_KMW = _heads_first(q, k.shape[1]), k.transpose(0, 1), v.transpose(0, 1)
        out_KGLW = q.new_empty(*q_KGLD.shape[:3], v.shape[-1])
        for block in _blocks(len(q), len(k), q.shape[1], options.window, q):
            weights, _ = _weights(q_KGLD, k_KMD, sinks, block, options)
            out = weights.to(v.dtype).flatten(1, 2) @ v_KMW[:, block.first : block.last]
            out_KGLW[:, :, block.start : block.stop] = out.unflatten(1, (-1, block.stop - block.start))
        ctx.save_for_backward(q, k, v, sinks)
        return out_KGLW.flatten(0, 1).transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, sinks = ctx.saved_tensors
        options: ScoreOptions = ctx.options
        q_KGLD, k_KMD, v_KMW = _heads_first(q, k.shape[1]), k.transpose(0, 1), v.transpose(0, 1)
        dout_KGLW = _heads_first(grad_out, k.shape[1])
        dq_KGLD = torch.empty(q_KGLD.shape, dtype=q.dtype, device=q.device)
        dk_KMD, dv_KMW = (torch.zeros(x.shape, dtype=x.dtype, device=x.device) for x in (k_KMD, v_KMW))
        dsinks = None if sinks is None else widened(torch.zeros_like(sinks))
        for block in _blocks(len(q), len(k), q.shape[1], options.window, q):
            keys, rows = slice(block.first, block.last), slice(block.start, block.stop)
            weights, capped = _weights(q_KGLD, k_KMD, sinks, block, options)
            weights = weights.to(v.dtype)
            dout, q_rows = dout_KGLW[:, :, rows].flatten(1, 2), q_KGLD[:, :, rows].flatten(1, 2)
            dv_KMW[:, keys].baddbmm_(weights.flatten(1, 2).transpose(1, 2), dout)
            dweights = (dout @ v_KMW[:, keys].transpose(1, 2)).view(weights.shape)
            dscores = scores_backward(dweights, weights)
            if dsinks is not None:
                dsinks -= widened(dscores).sum((2, 3)).flatten()
            if capped is not None:
                dscores = dscores * (1 - capped.square()).to(dscores.dtype)
            flat = dscores.mul_(options.scale).flatten(1, 2)
            dq_KGLD[:, :, rows] = (flat @ k_KMD[:, keys]).unflatten(1, (-1, block.stop - block.start))
            dk_KMD[:, keys].baddbmm_(flat.transpose(1, 2), q_rows)
        dq = dq_KGLD.flatten(0, 1).transpose(0, 1)
        return (
            dq,
            dk_KMD.transpose(0, 1),
            dv_KMW.transpose(0, 1),
            None if dsinks is None else dsinks.to(sinks.dtype),
            None,
        )


def _heads_first(x_LHD: Tensor, num_kv_heads: int) -> Tensor:
    """`[K, G, L, D]`."""
    return x_LHD.transpose(0, 1).unflatten(0, (num_kv_heads, -1))


def _weights(
    q_KGLD: Tensor, k_KMD: Tensor, sinks_H: Tensor | None, block: _Block, options: ScoreOptions
) -> tuple[Tensor, Tensor | None]:
    """Weights `[K, G, rows, keys]` of a block in (at least) fp32, and tanh of its scores where they are capped."""
    q_rows = q_KGLD[:, :, block.start : block.stop].flatten(1, 2)
    scores = q_rows @ k_KMD[:, block.first : block.last].transpose(1, 2)
    scores = widened(scores).view(*q_KGLD.shape[:2], block.stop - block.start, -1).mul_(options.scale)
    capped = None
    if options.softcap is not None:
        capped = scores.div_(options.softcap).tanh_()
        scores = capped * options.softcap
    scores[..., -block.hidden.shape[1] :].masked_fill_(block.hidden, -math.inf)
    sinks = None if sinks_H is None else sinks_H.to(scores.dtype).view(*q_KGLD.shape[:2], 1, 1)
    return attention_weights(scores, sinks), capped
