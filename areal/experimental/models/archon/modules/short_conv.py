# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Gated short convolution (LFM2): a mixer whose tokens see only the few before them, through a causal depthwise convolution.

The convolution is the context's business, as in `delta_net`: training starts each packed sequence with zeros, a server keeps the
last inputs. Dimensions: N tokens, E hidden width, C channels, S kernel size.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from areal.experimental.models.archon.contexts.protocol import TokenInfo
from areal.experimental.models.archon.model_args import ShortConvArgs
from areal.experimental.models.archon.modules.delta_net import ConvWeight
from areal.experimental.models.archon.modules.fused import FusedLinears
from areal.experimental.models.archon.roles import Role


class ShortConv(nn.Module):
    """out_proj(c · (conv1d(b · v) + bias)), where b, c and v are projections of the token."""

    def __init__(self, args: ShortConvArgs, hidden_size: int, layer: int) -> None:
        super().__init__()
        self.args, self.layer = args, layer
        self.in_proj_b = nn.Linear(hidden_size, args.conv_channels, bias=args.bias)
        self.in_proj_c = nn.Linear(hidden_size, args.conv_channels, bias=args.bias)
        self.in_proj_v = nn.Linear(hidden_size, args.conv_channels, bias=args.bias)
        self.conv1d = ConvWeight(args.conv_channels, args.conv_kernel)
        self.conv_bias = nn.Parameter(torch.empty(args.conv_channels)) if args.bias else None
        self.out_proj = nn.Linear(args.conv_channels, hidden_size, bias=args.bias)
        self._fused: FusedLinears | None = None

    def roles(self) -> Mapping[str, Role]:
        """Channels never meet before the output projection, so that ranks share them."""
        column = dict.fromkeys(("in_proj_b", "in_proj_c", "in_proj_v"), Role.COLUMN)
        return {**column, "conv1d": Role.CHANNEL, "conv_bias": Role.CHANNEL, "out_proj": Role.ROW}

    def init_weights(self) -> None:
        """No bias at first."""
        if self.conv_bias is not None:
            nn.init.zeros_(self.conv_bias)

    def fuse(self) -> None:
        """Compute the three projections in one product from now on (inference only)."""
        self._fused = FusedLinears([self.in_proj_b, self.in_proj_c, self.in_proj_v])

    def forward(self, x_NE: Tensor, info: TokenInfo) -> Tensor:
        """`[N, E]`."""
        if self._fused is not None:
            b, c, v = self._fused(x_NE).split(self._fused.sizes, dim=-1)
        else:
            b, c, v = self.in_proj_b(x_NE), self.in_proj_c(x_NE), self.in_proj_v(x_NE)
        mixed = info.context.convolve(self.layer, b * v, self.conv1d.weight)
        if self.conv_bias is not None:
            mixed = mixed + self.conv_bias
        return self.out_proj(c * mixed)
