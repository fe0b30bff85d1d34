# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A block: mixer and feed-forward around the residual stream, in every layout that `LayerArgs` can express."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from areal.experimental.models.archon.contexts.protocol import TokenInfo
from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    DecoderArgs,
    DeltaNetArgs,
    FeedForwardArgs,
    LayerArgs,
    MLAArgs,
    MoEArgs,
    NormArgs,
    ShortConvArgs,
)
from areal.experimental.models.archon.modules.attention import Attention
from areal.experimental.models.archon.modules.delta_net import GatedDeltaNet
from areal.experimental.models.archon.modules.feed_forward import FeedForward
from areal.experimental.models.archon.modules.mla import MLAttention
from areal.experimental.models.archon.modules.norm import Norm
from areal.experimental.models.archon.modules.short_conv import ShortConv
from areal.experimental.models.archon.moe.moe import MoE
from areal.experimental.models.archon.roles import Role


class Block(nn.Module):
    """Layer `layer` of a decoder: a mixer, `attention`, `linear_attn` or `short_conv`, and `feed_forward` or `moe`."""

    def __init__(self, model: DecoderArgs, layer: int) -> None:
        super().__init__()
        args = self.args = model.layers[layer]
        size = model.hidden_size
        self.attention_norm = _norm(args.attention_norm, size)
        self.attention_post_norm = _norm(args.attention_post_norm, size)
        self.ffn_norm = _norm(args.ffn_norm, size)
        self.ffn_post_norm = _norm(args.ffn_post_norm, size)
        self.attention = _attention(model, args, layer)
        self.linear_attn = GatedDeltaNet(args.mixer, size, layer) if isinstance(args.mixer, DeltaNetArgs) else None
        self.short_conv = ShortConv(args.mixer, size, layer) if isinstance(args.mixer, ShortConvArgs) else None
        is_dense = isinstance(args.ffn, FeedForwardArgs)
        self.feed_forward = FeedForward(args.ffn, size) if isinstance(args.ffn, FeedForwardArgs) else None
        self.moe = MoE(args.ffn, size) if isinstance(args.ffn, MoEArgs) else None
        assert is_dense == (self.moe is None)

    def roles(self) -> Mapping[str, Role]:
        """See `roles`."""
        names = ("attention_norm", "attention_post_norm", "ffn_norm", "ffn_post_norm")
        return dict.fromkeys(names, Role.TOKEN_NORM)

    def forward(self, x_NE: Tensor, info: TokenInfo) -> Tensor:
        """`[N, E]`."""
        normal = _apply(self.attention_norm, x_NE)
        mixed = self._scaled(_apply(self.attention_post_norm, self._mix(normal, info)))
        if self.args.parallel:
            ffn_input = normal if self.ffn_norm is None else self.ffn_norm(x_NE)
            return x_NE + mixed + self._scaled(_apply(self.ffn_post_norm, self._feed(ffn_input, info)))
        x_NE = x_NE + mixed
        return x_NE + self._scaled(_apply(self.ffn_post_norm, self._feed(_apply(self.ffn_norm, x_NE), info)))

    def _mix(self, x_NE: Tensor, info: TokenInfo) -> Tensor:
        if self.linear_attn is not None:
            return self.linear_attn(x_NE, info)
        if self.short_conv is not None:
            return self.short_conv(x_NE, info)
        assert self.attention is not None
        return self.attention(x_NE, info)

    def _feed(self, x_NE: Tensor, info: TokenInfo) -> Tensor:
        if self.moe is not None:
            return self.moe(x_NE, info.num_real_rows)
        assert self.feed_forward is not None
        return self.feed_forward(x_NE)

    def _scaled(self, branch: Tensor) -> Tensor:
        return branch if self.args.residual_scale == 1.0 else branch * self.args.residual_scale


def _attention(model: DecoderArgs, args: LayerArgs, layer: int) -> nn.Module | None:
    """Softmax attention; None for other mixers."""
    if isinstance(args.mixer, AttentionArgs):
        style = model.ropes[args.mixer.rope].style if args.mixer.rope is not None else "half"
        return Attention(args.mixer, model.hidden_size, layer, style)
    if isinstance(args.mixer, MLAArgs):
        style = model.ropes[args.mixer.rope].style
        return MLAttention(args.mixer, model.hidden_size, layer, style)
    return None


def _norm(args: NormArgs | None, size: int) -> Norm | None:
    return None if args is None else Norm(args, size)


def _apply(norm: Norm | None, x: Tensor) -> Tensor:
    return x if norm is None else norm(x)
