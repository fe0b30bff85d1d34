# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Causal attention over packed sequences with plain matrix products: buckets of similar length, padded and batched.

The kernel of the CPU (where torch has no varlen attention) and of float32 on GPU. One gather in, one gather out, two
batched products a bucket; long sequences go one by one through SDPA or `blocked`, whose memory is linear in their length.
Shapes: T packed tokens, H query heads, K key/value heads, G = H / K, D head size, n sequences of a bucket, L its length.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from areal.models.packed_attention.blocked import (
    ScoreOptions,
    attention_weights,
    blocked_attention,
    scores_backward,
    widened,
)
from areal.models.packed_attention.layout import Bucket, DensePlan, PackedLayout

# Above this many tokens a sequence goes through SDPA: its scores, kept for the backward, would take H * L^2 floats.
# Below it plain products are faster (float32, one thread: 1.1x at 512 tokens, 1.9x at 96).
MAX_DENSE_LENGTH = 768


def dense_packed_attention(
    query_THD: Tensor,
    key_TKD: Tensor,
    value_TKD: Tensor,
    layout: PackedLayout,
    scale: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
    sinks_H: Tensor | None = None,
) -> Tensor:
    """softmax(scale * q k^T) v within each sequence, causal: `[T, H, D]`.

    Args:
        query_THD: `[T, H, D]`; key_TKD: `[T, K, D]`, value_TKD: `[T, K, any size]` with H a multiple of K.
        layout: boundaries of the sequences; its rows are T.
        scale: factor of the scores; None means D ** -0.5.
        window: a token sees itself and at most `window - 1` tokens before it; None means all of them.
        softcap: scores s become c * tanh(s / c).
        sinks_H: a score for each head that joins the denominator of the softmax.
    """
    scale = query_THD.shape[-1] ** -0.5 if scale is None else scale
    options = ScoreOptions(scale, window, softcap)
    if layout.max_seqlen <= MAX_DENSE_LENGTH:
        return _dense(query_THD, key_TKD, value_TKD, layout, options, sinks_H)
    if layout.shared is not None:
        return _each_sharing(query_THD, key_TKD, value_TKD, layout, options, sinks_H)
    # Long sequences alternate with runs of short ones; all short ones share buckets.
    runs, short_layout = layout.split_long(MAX_DENSE_LENGTH)
    sizes = [run.num_tokens for run in runs]
    pieces = list(zip(*(x.split(sizes) for x in (query_THD, key_TKD, value_TKD))))
    if short_layout is not None:
        short_pieces = [piece for piece, run in zip(pieces, runs) if not run.is_long]
        short_output = _dense(*(torch.cat(parts) for parts in zip(*short_pieces)), short_layout, options, sinks_H)
        short_outputs = iter(short_output.split([run.num_tokens for run in runs if not run.is_long]))
    outputs = [
        _long(*piece, options, sinks_H) if run.is_long else next(short_outputs) for piece, run in zip(pieces, runs)
    ]
    return torch.cat(outputs)


def _dense(
    q: Tensor, k: Tensor, v: Tensor, layout: PackedLayout, options: ScoreOptions, sinks_H: Tensor | None
) -> Tensor:
    plan = layout.dense_plan(q.shape[1], k.shape[1])
    rows = (x.reshape(-1, x.shape[-1]) for x in (q, k, v))
    return _DenseAttention.apply(*rows, sinks_H, plan, k.shape[1], options).view(*q.shape[:-1], v.shape[-1])


def _long(q_LHD: Tensor, k_LKD: Tensor, v_LKW: Tensor, options: ScoreOptions, sinks_H: Tensor | None) -> Tensor:
    """One sequence; SDPA's kernel skips what lies after the diagonal, but computes nothing beyond plain attention."""
    is_windowed = options.window is not None and options.window < q_LHD.shape[0]
    same_widths = v_LKW.shape[-1] == k_LKD.shape[-1]
    if is_windowed or options.softcap is not None or sinks_H is not None or not same_widths:
        return blocked_attention(q_LHD, k_LKD, v_LKW, options, sinks_H)
    groups = q_LHD.shape[1] // k_LKD.shape[1]
    if groups > 1 and q_LHD.device.type != "cpu":
        # Without equal heads float32 falls to SDPA's plain kernel there, which keeps scores [H, L, L].
        k_LKD, v_LKW = (x.repeat_interleave(groups, dim=1) for x in (k_LKD, v_LKW))
    heads_first = (x.transpose(0, 1).unsqueeze(0) for x in (q_LHD, k_LKD, v_LKW))
    output = F.scaled_dot_product_attention(
        *heads_first, is_causal=True, scale=options.scale, enable_gqa=q_LHD.shape[1] != k_LKD.shape[1]
    )
    return output.squeeze(0).transpose(0, 1)


def _each_sharing(
    q: Tensor, k: Tensor, v: Tensor, layout: PackedLayout, options: ScoreOptions, sinks_H: Tensor | None
) -> Tensor:
    """Sequences that share rows, some of them long: one by one, each with queries for its own rows only."""
    assert layout.shared is not None
    outputs, own_rows = [], []
    sequences = layout.shared.token_rows.to(q.device).split(layout.seq_lens)
    for rows, prefix in zip(sequences, layout.shared.prefix_lens, strict=True):
        own = rows[prefix:]
        keys, values = k.index_select(0, rows), v.index_select(0, rows)
        outputs.append(blocked_attention(q.index_select(0, own), keys, values, options, sinks_H))
        own_rows.append(own)
    return torch.cat(outputs).index_select(0, torch.cat(own_rows).argsort())


def _visible(length: int, window: int | None) -> Tensor:
    """Bool `[L, L]`: whether query i sees key j, that is j <= i and i - j < window."""
    offset = torch.arange(length).unsqueeze(1) - torch.arange(length)
    return offset >= 0 if window is None else (offset >= 0) & (offset < window)


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # a server in this process may ask first, and training must be able to save the tensor
def _additive_mask(window: int | None, device: torch.device) -> Tensor:
    """Float32 `[MAX_DENSE_LENGTH, MAX_DENSE_LENGTH]`: 0 where visible, -inf elsewhere. Buckets use its first rows."""
    mask = torch.zeros(MAX_DENSE_LENGTH, MAX_DENSE_LENGTH)
    return mask.masked_fill_(~_visible(MAX_DENSE_LENGTH, window), -math.inf).to(device)


def _bucket_mask(plan: DensePlan, index: int, window: int | None) -> Tensor:
    """Additive mask of a bucket, broadcast over `[n, heads, Lq, Lk]`."""
    bucket = plan.buckets[index]
    if bucket.offsets is None:
        return _additive_mask(window, plan.query_source.device)[: bucket.query_length, : bucket.key_length]
    if (index, window) not in plan.masks:
        positions_nq = bucket.offsets.unsqueeze(1) + torch.arange(bucket.query_length, device=bucket.offsets.device)
        mask = _additive_mask(window, bucket.offsets.device)
        # Padding queries lie beyond their sequence: any row that sees a key will do.
        rows_nq = positions_nq.clamp(max=bucket.key_length - 1)
        plan.masks[index, window] = mask[:, : bucket.key_length][rows_nq].unsqueeze(1)
    return plan.masks[index, window]


class _DenseAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        sinks_H: Tensor | None,
        plan: DensePlan,
        num_kv_heads: int,
        options: ScoreOptions,
    ) -> Tensor:
        q_pad = q.index_select(0, plan.query_source)
        k_pad = k.index_select(0, plan.key_source)
        v_pad = v.index_select(0, plan.key_source)
        out_pad = q_pad.new_empty(q_pad.shape[0], v.shape[-1])
        keeps_probs = any(ctx.needs_input_grad[:4])
        kept: list[Tensor] = []
        for index, bucket in enumerate(plan.buckets):
            q_b, k_b, v_b, out_b = _bucket_views(bucket, num_kv_heads, q_pad, k_pad, v_pad, out_pad)
            scores = torch.bmm(q_b, k_b.transpose(1, 2))
            by_head = scores.view(bucket.num_sequences, -1, bucket.query_length, bucket.key_length)
            mask = _bucket_mask(plan, index, options.window)
            # Low precision scores are scaled and normalised in float32, as HF's eager attention does.
            if options.softcap is None:
                by_head = torch.add(mask, by_head, alpha=options.scale)
            else:
                capped = widened(by_head).mul(options.scale / options.softcap).tanh_()
                by_head = torch.add(mask, capped, alpha=options.softcap)
                if keeps_probs:
                    kept.append(capped)
            sinks = None if sinks_H is None else sinks_H.to(by_head.dtype).view(-1, 1, 1)
            probs = attention_weights(by_head, sinks).to(q.dtype).view(scores.shape)
            torch.bmm(probs, v_b, out=out_b)
            if keeps_probs:
                kept.append(probs)
        out = out_pad.index_select(0, plan.query_target)
        ctx.plan, ctx.num_kv_heads, ctx.options = plan, num_kv_heads, options
        ctx.save_for_backward(q_pad, k_pad, v_pad, sinks_H, *kept)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        plan: DensePlan = ctx.plan
        q_pad, k_pad, v_pad, sinks_H, *kept = ctx.saved_tensors
        all_probs = kept if ctx.options.softcap is None else kept[1::2]
        dsinks = None if sinks_H is None else widened(torch.zeros_like(sinks_H))
        grad_out_pad = grad_out.contiguous().index_select(0, plan.query_source)
        # Padding rows and second copies of shared rows repeat real rows: their gradient must not count twice.
        grad_out_pad.index_fill_(0, plan.query_padding, 0.0)
        dq_pad, dk_pad, dv_pad = (torch.empty_like(x) for x in (q_pad, k_pad, v_pad))
        for index, (bucket, probs) in enumerate(zip(plan.buckets, all_probs, strict=True)):
            q_b, k_b, v_b, dout_b = _bucket_views(bucket, ctx.num_kv_heads, q_pad, k_pad, v_pad, grad_out_pad)
            dq_b, dk_b, dv_b, _ = _bucket_views(bucket, ctx.num_kv_heads, dq_pad, dk_pad, dv_pad, grad_out_pad)
            torch.bmm(probs.transpose(1, 2), dout_b, out=dv_b)
            dprobs = torch.bmm(dout_b, v_b.transpose(1, 2))
            dscores = scores_backward(dprobs, probs)
            if dsinks is not None:
                by_head = dscores.view(bucket.num_sequences, -1, bucket.query_length, bucket.key_length)
                dsinks -= widened(by_head).sum((0, 2, 3))
            if ctx.options.softcap is not None:
                # Of tanh; in fp32, as it was computed.
                dscores = (dscores * (1 - kept[2 * index].square()).view(dscores.shape)).to(probs.dtype)
            dscores = dscores.mul_(ctx.options.scale)
            torch.bmm(dscores, k_b, out=dq_b)
            torch.bmm(dscores.transpose(1, 2), q_b, out=dk_b)
        dk, dv = dk_pad.index_select(0, plan.key_target), dv_pad.index_select(0, plan.key_target)
        if plan.key_copies.numel():
            shared_rows = plan.key_source.index_select(0, plan.key_copies)
            for grad, grad_pad in ((dk, dk_pad), (dv, dv_pad)):
                grad.index_add_(0, shared_rows, grad_pad.index_select(0, plan.key_copies))
        dq = dq_pad.index_select(0, plan.query_target)
        return dq, dk, dv, None if dsinks is None else dsinks.to(sinks_H.dtype), None, None, None


def _bucket_views(
    bucket: Bucket, num_kv_heads: int, q_pad: Tensor, k_pad: Tensor, v_pad: Tensor, out_pad: Tensor
) -> tuple[Tensor, ...]:
    """Batches of matrices of one bucket: q and out `[n K, G L, D]`, k and v `[n K, L, D]`."""
    rows = (bucket.query_rows, bucket.key_rows, bucket.key_rows, bucket.query_rows)
    batch = bucket.num_sequences * num_kv_heads
    return tuple(x[part].view(batch, -1, x.shape[-1]) for x, part in zip((q_pad, k_pad, v_pad, out_pad), rows))
