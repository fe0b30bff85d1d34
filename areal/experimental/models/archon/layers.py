# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The layers a decoder is composed of. Options are declared in `DecoderArgs`; a family switches them, never subclasses.

Dimensions: N tokens, E hidden width, H query heads, K key heads, D head width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from areal.experimental.models.archon.args import DecoderArgs
from areal.experimental.models.archon.attention import Attend
from areal.experimental.models.archon.rope import rotate


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + ε) · w over the last dimension (Zhang & Sennrich 2019), statistics in fp32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Same shape and dtype as `x`."""
        if x.dtype != torch.float32:
            # HF rounds to the input dtype before the multiplication by the weight; in bf16 one rounding more shows.
            return self.weight * F.rms_norm(x, self.weight.shape, None, self.eps)
        if x.is_cpu and not torch.is_grad_enabled():
            return self._on_cpu(x)
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)

    def _on_cpu(self, x: Tensor) -> Tensor:
        """Five small kernels instead of torch's nine: decoding one token a row is bound by their number."""
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        mean_square = norm.square_().mul_(1.0 / x.shape[-1])
        return x * mean_square.add_(self.eps).rsqrt_() * self.weight


class Attention(nn.Module):
    """Grouped-query attention with rotary positions; one fused projection gives queries, keys and values."""

    def __init__(self, args: DecoderArgs, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = args.head_dim
        self.split = (args.num_heads, args.num_kv_heads, args.num_kv_heads)
        self.wqkv = nn.Linear(args.hidden_size, sum(self.split) * args.head_dim, bias=args.qkv_bias)
        self.wo = nn.Linear(args.num_heads * args.head_dim, args.hidden_size, bias=args.out_bias)
        self.q_norm = RMSNorm(args.head_dim, args.norm_eps) if args.qk_norm else None
        self.k_norm = RMSNorm(args.head_dim, args.norm_eps) if args.qk_norm else None

    def forward(self, x_NE: Tensor, rope: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        """`rope` are the tables of `Rope`, `attend` the strategy of `attention.Attend`."""
        heads = self.wqkv(x_NE).unflatten(-1, (-1, self.head_dim))
        num_q, num_k, num_v = self.split
        if self.q_norm is None or self.k_norm is None:
            qk, v = heads.split_with_sizes((num_q + num_k, num_v), dim=1)
            q, k = rotate(qk, *rope).split_with_sizes((num_q, num_k), dim=1)
        else:
            q, k, v = heads.split_with_sizes(self.split, dim=1)
            q, k = rotate(self.q_norm(q), *rope), rotate(self.k_norm(k), *rope)
        return self.wo(attend(self.layer, q, k, v).flatten(-2))


class FeedForward(nn.Module):
    """w2(silu(w1 x) · w3 x) (Shazeer 2020), with w1 and w3 fused in `w13`."""

    def __init__(self, args: DecoderArgs) -> None:
        super().__init__()
        self.w13 = nn.Linear(args.hidden_size, 2 * args.intermediate_size, bias=args.mlp_bias)
        self.w2 = nn.Linear(args.intermediate_size, args.hidden_size, bias=args.mlp_bias)

    def forward(self, x_NE: Tensor) -> Tensor:
        """Same shape as the input."""
        gate, up = self.w13(x_NE).chunk(2, dim=-1)
        return self.w2(F.silu(gate).mul_(up))  # in place: this is the widest tensor of a block


class Block(nn.Module):
    """Pre-norm residual block: attention, then feed-forward."""

    def __init__(self, args: DecoderArgs, layer: int) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(args.hidden_size, args.norm_eps)
        self.attention = Attention(args, layer)
        self.ffn_norm = RMSNorm(args.hidden_size, args.norm_eps)
        self.feed_forward = FeedForward(args)

    def forward(self, x_NE: Tensor, rope: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        """Same shape as the input."""
        x_NE = x_NE + self.attention(self.attention_norm(x_NE), rope, attend)
        return x_NE + self.feed_forward(self.ffn_norm(x_NE))
