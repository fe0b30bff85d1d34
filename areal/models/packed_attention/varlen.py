# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Variable-length flash attention of torch for heads of any width up to 256: CUDA, 16-bit floats.

Called by the packed attention of HF models and by Archon's kernel, which adds sinks. Uses the operators behind torch's
`varlen_attn`: that function takes grouped heads unasked in torch 2.11 and only when asked from 2.12 on, by an argument that 2.11
does not know; the operators take them in all releases. Must never import them at import: CPU runs need none.
Shapes: T packed tokens, H query heads, K key/value heads, D query/key width, W value width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_HEAD_DIM = 256
"""Largest head of the flash kernels."""
HEAD_DIM_STEP = 8
"""Head widths that the flash kernels read: multiples of 16 bytes of a 16-bit float."""


def varlen_packed_attention(
    query_THD: Tensor,
    key_TKD: Tensor,
    value_TKW: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    scale: float | None = None,
    window: int | None = None,
) -> Tensor:
    """softmax(scale * q k^T) v within each sequence, causal: `[T, H, W]`.

    Args:
        query_THD: `[T, H, D]`; key_TKD: `[T, K, D]`, value_TKW: `[T, K, W]` with H a multiple of K.
        cu_seqlens: int32 `[n + 1]`, boundaries of the sequences; rows beyond them are undefined.
        max_seqlen: longest of them.
        scale: factor of the scores; None means D ** -0.5.
        window: a token sees itself and at most `window - 1` tokens before it; None means all of them.
    """
    scale = query_THD.shape[-1] ** -0.5 if scale is None else scale
    q, k, v = of_one_width(query_THD, key_TKD, value_TKW)
    out_THD, _, _ = flash_forward(q, k, v, cu_seqlens, max_seqlen, scale, window)
    return out_THD[..., : value_TKW.shape[-1]]


def of_one_width(*parts: Tensor) -> list[Tensor]:
    """The tensors with zeros behind their channels, contiguous: zeros add nothing to scores and outputs."""
    width = -(-max(part.shape[-1] for part in parts) // HEAD_DIM_STEP) * HEAD_DIM_STEP
    return [F.pad(part, (0, width - part.shape[-1])).contiguous() for part in parts]


def flash_forward(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, max_seqlen: int, scale: float, window: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Output `[T, H, D]` (differentiable), fp32 log-sum-exp `[H, T]` and random state of heads of one width."""
    import torch.nn.attention.varlen  # registers the operators

    boundaries = (cu_seqlens, cu_seqlens, max_seqlen, max_seqlen)
    return torch.ops.torch_attn._varlen_attn(q, k, v, *boundaries, window is None, scale, _sides(window))


def flash_backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    random_state: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    scale: float,
    window: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v for what `flash_forward` gave."""
    boundaries = (cu_seqlens, cu_seqlens, max_seqlen, max_seqlen)
    return torch.ops.torch_attn._varlen_attn_backward(
        grad_out, q, k, v, out, lse, *boundaries, window is None, random_state, scale, _sides(window)
    )


def _sides(window: int | None) -> list[int]:
    """How many tokens before and after itself a token sees; -1 means all."""
    return [-1 if window is None else window - 1, 0]
