# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Gated DeltaNet (Yang et al. 2024, arXiv 2412.06464): linear attention whose state decays and is corrected, not added to.

The state and the short convolution before it are the context's business: training resets them at each packed sequence,
a server keeps them. Dimensions: N tokens, E hidden width, K key heads, H value heads (a multiple of K), D key width, W
value width, C = 2KD + HW channels, S kernel size.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from areal.experimental.models.archon.contexts.protocol import TokenInfo
from areal.experimental.models.archon.model_args import DeltaNetArgs
from areal.experimental.models.archon.modules.activation import activation_of
from areal.experimental.models.archon.modules.fused import FusedLinears
from areal.experimental.models.archon.modules.norm import Norm
from areal.experimental.models.archon.roles import Role

L2_EPS = 1e-6
"""Added to the squared length of queries and keys; fixed in every published checkpoint."""


class GatedDeltaNet(nn.Module):
    """out_proj(norm(y) · silu(in_proj_z x)), y the gated delta rule of act(conv1d(in_proj_qkv x)).

    Decay e^g with g = -e^{A_log} · softplus(in_proj_a x + dt_bias), step size β = step_scale · sigmoid(in_proj_b x).
    """

    def __init__(self, args: DeltaNetArgs, hidden_size: int, layer: int) -> None:
        super().__init__()
        self.args, self.layer = args, layer
        self.key_width = args.num_key_heads * args.key_head_dim
        self.value_width = args.num_value_heads * args.value_head_dim
        self.in_proj_qkv = nn.Linear(hidden_size, args.conv_channels, bias=False)
        self.in_proj_z = nn.Linear(hidden_size, self.value_width, bias=False)
        self.in_proj_b = nn.Linear(hidden_size, args.num_value_heads, bias=False)
        self.in_proj_a = nn.Linear(hidden_size, args.num_value_heads, bias=False)
        self.conv1d = ConvWeight(args.conv_channels, args.conv_kernel)
        self.A_log = nn.Parameter(torch.empty(args.num_value_heads))
        self.dt_bias = nn.Parameter(torch.empty(args.num_value_heads))
        self.norm = Norm(args.norm, args.value_head_dim)
        self.out_proj = nn.Linear(self.value_width, hidden_size, bias=False)
        self.act = activation_of(args.activation)
        self._fused: FusedLinears | None = None

    def roles(self) -> Mapping[str, Role]:
        """Whole on every rank: q, k and v lie in one projection, so that no cut along dim 0 is a cut between heads."""
        names = ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "conv1d", "A_log", "dt_bias", "norm", "out_proj")
        return dict.fromkeys(names, Role.REPLICATED)

    def init_weights(self) -> None:
        """Decay rates spread over (0, 16) as in Mamba-2; step bias 1."""
        with torch.no_grad():
            self.A_log.uniform_(1e-3, 16.0).log_()
            self.dt_bias.fill_(1.0)

    def fuse(self) -> None:
        """Compute the four projections in one product from now on (inference only)."""
        self._fused = FusedLinears([self.in_proj_qkv, self.in_proj_z, self.in_proj_b, self.in_proj_a])

    def forward(self, x_NE: Tensor, info: TokenInfo) -> Tensor:
        """`[N, E]`."""
        args, context = self.args, info.context
        qkv, z, b, a = self._project(x_NE)
        qkv = self.act(context.convolve(self.layer, qkv, self.conv1d.weight))
        q, k, v = qkv.split((self.key_width, self.key_width, self.value_width), dim=-1)
        repeats = args.num_value_heads // args.num_key_heads
        q, k = (unit_rows(t.unflatten(-1, (-1, args.key_head_dim))).repeat_interleave(repeats, dim=1) for t in (q, k))
        v = v.unflatten(-1, (-1, args.value_head_dim))
        log_decay = -self.A_log.float().exp() * F.softplus(a.float() + self.dt_bias)
        steps = torch.sigmoid(b) if args.step_scale == 1.0 else torch.sigmoid(b) * args.step_scale
        y = context.delta_rule(self.layer, q, k, v, log_decay, steps)
        # The gate multiplies in fp32, as HF does.
        gated = self.norm(y) * F.silu(z.unflatten(-1, (-1, args.value_head_dim)).float())
        return self.out_proj(gated.to(x_NE.dtype).flatten(-2))

    def _project(self, x_NE: Tensor) -> tuple[Tensor, ...]:
        if self._fused is not None:
            return self._fused(x_NE).split(self._fused.sizes, dim=-1)
        return self.in_proj_qkv(x_NE), self.in_proj_z(x_NE), self.in_proj_b(x_NE), self.in_proj_a(x_NE)


class ConvWeight(nn.Module):
    """The weight `[C, S]` of a causal depthwise convolution; the context applies it."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, kernel))

    def init_weights(self) -> None:
        """Uniform within 1 / sqrt(S), torch's rule for convolutions."""
        bound = self.weight.shape[-1] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)


def unit_rows(x: Tensor) -> Tensor:
    """Vectors of length one along the last dimension, in fp32."""
    x = x.float()
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + L2_EPS)
