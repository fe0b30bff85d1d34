# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Variable-length flash attention of torch, with attention sinks and values narrower than keys. CUDA, 16-bit floats.

Called by `kernels.attention` alone. Dimensions: N tokens, H query heads, K key heads, D query/key width, W value width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from areal.experimental.models.archon.model_args import ScoreArgs

if TYPE_CHECKING:
    from areal.experimental.models.archon.kernels.attention import Packing

MAX_HEAD_DIM = 256
"""Largest head of the flash kernels."""
HEAD_DIM_STEP = 8
"""Head widths that the flash kernels read: multiples of 16 bytes of a 16-bit float."""


def varlen_attention(
    q_NHD: Tensor, k_NKD: Tensor, v_NKW: Tensor, packing: Packing, score: ScoreArgs, sinks_H: Tensor | None
) -> Tensor:
    """`[N, H, W]`; see `packed_attention`. Chunks are the business of `packing`."""
    # Registers the operators; not at import, since CPU runs never need them.
    from torch.nn.attention.varlen import varlen_attn

    width = v_NKW.shape[-1]
    common = -(-max(width, q_NHD.shape[-1]) // HEAD_DIM_STEP) * HEAD_DIM_STEP
    q, k, v = (_widened(x, common).contiguous() for x in (q_NHD, k_NKD, v_NKW))
    window = (-1 if score.window is None else score.window - 1, 0)
    if sinks_H is not None:
        out = _SinkAttention.apply(q, k, v, sinks_H, packing.cu_seqlens, packing.max_seqlen, score.scale, window)
    else:
        boundaries = (packing.cu_seqlens, packing.cu_seqlens, packing.max_seqlen, packing.max_seqlen)
        is_grouped = q.shape[1] != k.shape[1]
        out = varlen_attn(q, k, v, *boundaries, scale=score.scale, window_size=window, enable_gqa=is_grouped)
    return out[..., :width]


def _widened(x: Tensor, width: int) -> Tensor:
    """Zeros behind the channels: they add nothing to scores and outputs, and the kernels want equal widths."""
    return x if x.shape[-1] == width else F.pad(x, (0, width - x.shape[-1]))


def with_sinks(out_NHW: Tensor, lse_HN: Tensor, sinks_H: Tensor) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of attention whose denominators also hold the sinks: out · σ(lse - sink)."""
    sinks_H1 = sinks_H.float().unsqueeze(1)
    factor_NH1 = torch.sigmoid(lse_HN - sinks_H1).t().unsqueeze(-1)
    return (out_NHW * factor_NH1).to(out_NHW.dtype), torch.logaddexp(lse_HN, sinks_H1)


class _SinkAttention(torch.autograd.Function):
    """The flash backward makes p = exp(s - lse) and ds = p (dp - dout · out): given the output and log-sum-exp *with* sinks
    both are those of attention with sinks, so that no kernel of our own is needed. dsink = -Σ_rows p_sink (dout · out)."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        sinks_H: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        scale: float,
        window: tuple[int, int],
    ) -> Tensor:
        is_causal, is_grouped = window == (-1, 0), q.shape[1] != k.shape[1]
        boundaries = (cu_seqlens, cu_seqlens, max_seqlen, max_seqlen)
        out, lse, rng_state = torch.ops.torch_attn._varlen_attn(
            q, k, v, *boundaries, is_causal, scale, list(window), is_grouped
        )
        out, lse = with_sinks(out, lse, sinks_H)
        ctx.save_for_backward(q, k, v, sinks_H, cu_seqlens, out, lse, rng_state)
        ctx.max_seqlen, ctx.scale, ctx.window, ctx.is_causal = max_seqlen, scale, window, is_causal
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, sinks_H, cu_seqlens, out, lse, rng_state = ctx.saved_tensors
        grad_out = grad_out.contiguous()
        boundaries = (cu_seqlens, cu_seqlens, ctx.max_seqlen, ctx.max_seqlen)
        dq, dk, dv = torch.ops.torch_attn._varlen_attn_backward(
            grad_out, q, k, v, out, lse, *boundaries, ctx.is_causal, rng_state, ctx.scale, list(ctx.window)
        )
        share_HN = torch.exp(sinks_H.float().unsqueeze(1) - lse)
        dsinks_H = -(share_HN * (grad_out.float() * out.float()).sum(-1).t()).sum(1)
        return dq, dk, dv, dsinks_H.to(sinks_H.dtype), None, None, None, None
