# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The operators of torch's variable-length flash attention on the CPU, by masked softmax: the code around them runs without a GPU.

They refuse what the CUDA kernels refuse, except the dtype: float64 tells mistakes from rounding. Their backward is that of the
kernels: p = exp(s - lse) and ds = p (dp - dout · out), from the output and log-sum-exp that it is given.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor


@cache
def use_flash_on_cpu() -> None:
    """Let `torch.ops.torch_attn._varlen_attn` and its backward take tensors of the CPU, in this process from now on."""
    from torch.nn.attention import varlen

    varlen._varlen_attn.register_kernel("cpu")(_forward)
    varlen._varlen_attn_backward.register_kernel("cpu")(_backward)


def _check(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, max_seqlen: int) -> None:
    width = q.shape[-1]
    assert k.shape == v.shape and k.shape[-1] == width, "the kernels want one width"
    assert width % 8 == 0 and width <= 256, f"the kernels read widths up to 256 in units of 8, not {width}"
    assert q.shape[1] % k.shape[1] == 0 and all(x.stride(-1) == 1 for x in (q, k, v))
    assert cu_seqlens.dtype == torch.int32 and cu_seqlens.is_contiguous()
    assert type(max_seqlen) is int and max_seqlen >= int(cu_seqlens.diff().max())


def _scores(q: Tensor, k: Tensor, cu_seqlens: Tensor, scale: float, sides: list[int]) -> Tensor:
    """`[H, T, T]`, -inf where a query does not see a key."""
    sequence = torch.arange(len(cu_seqlens) - 1).repeat_interleave(cu_seqlens.diff().long())
    ahead = torch.arange(len(q))[:, None] - torch.arange(len(q))
    seen = (sequence[:, None] == sequence) & (ahead >= 0)
    if sides[0] >= 0:
        seen &= ahead <= sides[0]
    assert sides[1] == 0, "a causal decoder sees nothing after a token"
    scores = torch.einsum("thd,shd->hts", q, k.repeat_interleave(q.shape[1] // k.shape[1], 1)) * scale
    return scores.masked_fill(~seen, -math.inf)


def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen: int,
    max_seqlen_k: int,
    is_causal: bool,
    scale: float,
    sides: list[int],
    *defaults: object,
) -> tuple[Tensor, Tensor, Tensor]:
    _check(q, k, v, cu_seqlens, max_seqlen)
    assert is_causal == (sides == [-1, 0]), "as `varlen_attn` calls it"
    scores = _scores(q, k, cu_seqlens, scale, sides)
    out = torch.einsum("hts,shd->thd", scores.softmax(-1), v.repeat_interleave(q.shape[1] // k.shape[1], 1))
    return out, scores.logsumexp(-1), torch.zeros(2, dtype=torch.uint64)


def _backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    cu_seqlens: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen: int,
    max_seqlen_k: int,
    is_causal: bool,
    random_state: Tensor,
    scale: float,
    sides: list[int],
) -> tuple[Tensor, Tensor, Tensor]:
    _check(q, k, v, cu_seqlens, max_seqlen)
    groups = q.shape[1] // k.shape[1]
    k_heads, v_heads = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    probs = torch.exp(_scores(q, k, cu_seqlens, scale, sides) - lse[..., None])
    delta = (grad_out * out).sum(-1).t()
    dscores = probs * (torch.einsum("thd,shd->hts", grad_out, v_heads) - delta[..., None]) * scale
    dk = torch.einsum("hts,thd->shd", dscores, q).unflatten(1, (-1, groups)).sum(2)
    dv = torch.einsum("hts,thd->shd", probs, grad_out).unflatten(1, (-1, groups)).sum(2)
    return torch.einsum("hts,shd->thd", dscores, k_heads), dk, dv
