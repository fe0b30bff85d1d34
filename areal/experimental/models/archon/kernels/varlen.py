# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Variable-length flash attention of torch, with attention sinks and values narrower than keys. CUDA, 16-bit floats.

Called by `kernels.attention` alone. Dimensions: N tokens, H query heads, K key heads, D query/key width, W value width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from areal.experimental.models.archon.model_args import ScoreArgs
from areal.models.packed_attention.varlen import (
    flash_backward,
    flash_forward,
    of_one_width,
    varlen_packed_attention,
)

if TYPE_CHECKING:
    from areal.experimental.models.archon.kernels.attention import Packing


def varlen_attention(
    q_NHD: Tensor, k_NKD: Tensor, v_NKW: Tensor, packing: Packing, score: ScoreArgs, sinks_H: Tensor | None
) -> Tensor:
    """`[N, H, W]`; see `packed_attention`. Chunks are the business of `packing`."""
    options = (packing.cu_seqlens, packing.max_seqlen, score.scale, score.window)
    if sinks_H is None:
        return varlen_packed_attention(q_NHD, k_NKD, v_NKW, *options)
    return _SinkAttention.apply(*of_one_width(q_NHD, k_NKD, v_NKW), sinks_H, *options)[..., : v_NKW.shape[-1]]


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
        window: int | None,
    ) -> Tensor:
        ctx.max_seqlen, ctx.scale, ctx.window = max_seqlen, scale, window
        out, lse, random_state = flash_forward(q, k, v, cu_seqlens, max_seqlen, scale, window)
        out, lse = with_sinks(out, lse, sinks_H)
        ctx.save_for_backward(q, k, v, sinks_H, out, lse, random_state, cu_seqlens)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, sinks_H, out, lse, random_state, cu_seqlens = ctx.saved_tensors
        grad_out = grad_out.contiguous()
        dq, dk, dv = flash_backward(
            grad_out, q, k, v, out, lse, random_state, cu_seqlens, ctx.max_seqlen, ctx.scale, ctx.window
        )
        share_HN = torch.exp(sinks_H.float().unsqueeze(1) - lse)
        dsinks_H = -(share_HN * (grad_out.float() * out.float()).sum(-1).t()).sum(1)
        return dq, dk, dv, dsinks_H.to(sinks_H.dtype), None, None, None, None
