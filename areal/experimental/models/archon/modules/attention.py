# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Grouped-query attention with all options of `AttentionArgs`.

Head counts are read off the projections' outputs, never off the arguments: under tensor parallelism a rank has its share.
Dimensions: N tokens, E hidden width, H query heads, K key heads, D query/key width, W value width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from areal.experimental.models.archon.contexts.protocol import TokenInfo
from areal.experimental.models.archon.model_args import AttentionArgs, QKNormArgs, QueryTemperatureArgs
from areal.experimental.models.archon.modules.alibi import slopes_of, with_biases
from areal.experimental.models.archon.modules.exact import ExactBuffers
from areal.experimental.models.archon.modules.fused import FusedLinears
from areal.experimental.models.archon.modules.norm import Norm
from areal.experimental.models.archon.modules.rope import rotate
from areal.experimental.models.archon.roles import Role

_GATES: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "softplus": F.softplus}


class Attention(ExactBuffers):
    """`wo(gate · softmax attention of (wq x, wk x, wv x))`; which tokens meet is the context's business.

    slopes: of `alibi`, one for each head of this rank; no checkpoint holds them.
    """

    slopes: Tensor | None

    def __init__(self, args: AttentionArgs, hidden_size: int, layer: int, rope_style: str) -> None:
        super().__init__()
        self.args, self.layer, self.rope_style = args, layer, rope_style
        query_width = args.head_dim * (2 if args.gate == "query" else 1)
        out_width = args.num_heads * args.value_head_dim
        self.wq = nn.Linear(hidden_size, args.num_heads * query_width, bias=args.qkv_bias)
        self.wk = nn.Linear(hidden_size, args.num_kv_heads * args.head_dim, bias=args.qkv_bias)
        self.wv = nn.Linear(hidden_size, args.num_kv_heads * args.value_head_dim, bias=args.qkv_bias)
        self.wo = nn.Linear(out_width, hidden_size, bias=args.out_bias)
        self.q_norm = _qk_norm(args.qk_norm, args.num_heads, args.head_dim)
        self.k_norm = _qk_norm(args.qk_norm, args.num_kv_heads, args.head_dim)
        self.sinks = nn.Parameter(torch.empty(args.num_heads)) if args.score.sinks else None
        gate_width = {"channel": out_width, "head": args.num_heads}.get(args.gate)
        self.wg = nn.Linear(hidden_size, gate_width, bias=False) if gate_width is not None else None
        self.out_norm = Norm(args.out_norm, out_width) if args.out_norm is not None else None
        slopes = None if args.alibi is None else slopes_of(args.alibi, args.num_heads)
        self.register_buffer("slopes", slopes, persistent=False)
        self._fused: FusedLinears | None = None
        is_plain = args.qk_norm is None and args.clip_qkv is None and args.query_temperature is None
        self._turns_together = is_plain and args.gate != "query" and args.rope is not None

    def roles(self) -> Mapping[str, Role]:
        """See `roles`."""
        norm = {"head": Role.HEAD_NORM, "flat": Role.FLAT_NORM, "per_head": Role.CHANNEL}
        qk_role = norm[self.args.qk_norm.kind] if self.args.qk_norm is not None else Role.HEAD_NORM
        column = dict.fromkeys(("wq", "wk", "wv", "wg"), Role.COLUMN)
        return {
            **column,
            "wo": Role.ROW,
            "q_norm": qk_role,
            "k_norm": qk_role,
            "sinks": Role.CHANNEL,
            "out_norm": Role.FLAT_NORM,
        }

    def init_weights(self) -> None:
        """Sinks start without weight in the denominator's gradient balance: at zero, as gpt_oss does."""
        if self.sinks is not None:
            nn.init.zeros_(self.sinks)

    def fuse(self) -> None:
        """Compute the three projections in one product from now on (inference only)."""
        self._fused = FusedLinears([self.wq, self.wk, self.wv])

    def forward(self, x_NE: Tensor, info: TokenInfo) -> Tensor:
        """`[N, E]`."""
        args = self.args
        gate = self._gate(x_NE)
        if self._fused is not None and self._turns_together:
            q, k, v = self._turn_together(self._fused, x_NE, info)
        else:
            q, k, v = self._project(x_NE)
            if args.gate == "query":
                q, gate = q.unflatten(-1, (-1, 2, args.head_dim)).unbind(-2)
            else:
                q = q.unflatten(-1, (-1, args.head_dim))
            q, k = self._place(q, k.unflatten(-1, (-1, args.head_dim)), info)
        y = info.context.attend(self.layer, q, k, v.unflatten(-1, (-1, args.value_head_dim)), args.score, self.sinks)
        if args.value_scale != 1.0:
            y = y * args.value_scale
        if gate is not None:
            y = y * _GATES[args.gate_activation](gate)
        y = y.flatten(-2)
        return self.wo(y if self.out_norm is None else self.out_norm(y))

    def _turn_together(self, fused: FusedLinears, x_NE: Tensor, info: TokenInfo) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated heads `[N, H, D]`, `[N, K, D]` and flat values: one rotation for all, decoding is bound by small kernels."""
        assert self.args.rope is not None
        width_q, width_k, width_v = fused.sizes
        qk, v = fused(x_NE).split((width_q + width_k, width_v), dim=-1)
        heads = rotate(qk.unflatten(-1, (-1, self.args.head_dim)), *info.ropes[self.args.rope], self.rope_style)
        q, k = heads.split((self.args.num_heads, self.args.num_kv_heads), dim=1)
        return q, k, v

    def _project(self, x_NE: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self._fused is not None:
            q, k, v = self._fused(x_NE).split(self._fused.sizes, dim=-1)
        else:
            q, k, v = self.wq(x_NE), self.wk(x_NE), self.wv(x_NE)
        if (limit := self.args.clip_qkv) is not None:
            q, k, v = (t.clamp(-limit, limit) for t in (q, k, v))
        return q, k, v

    def _gate(self, x_NE: Tensor) -> Tensor | None:
        """Logits of a gate with its own projection: `[N, H, W]` or `[N, H, 1]`."""
        if self.wg is None:
            return None
        width = self.args.value_head_dim if self.args.gate == "channel" else 1
        return self.wg(x_NE).unflatten(-1, (-1, width))

    def _place(self, q_NHD: Tensor, k_NKD: Tensor, info: TokenInfo) -> tuple[Tensor, Tensor]:
        """Normalise and rotate queries and keys in the order of the options."""
        options = self.args.qk_norm
        if options is not None and not options.after_rope:
            q_NHD, k_NKD = self._normalise(q_NHD, k_NKD, options)
        if self.args.rope is not None:
            cos, sin = info.ropes[self.args.rope]
            q_NHD, k_NKD = rotate(q_NHD, cos, sin, self.rope_style), rotate(k_NKD, cos, sin, self.rope_style)
        if options is not None and options.after_rope:
            q_NHD, k_NKD = self._normalise(q_NHD, k_NKD, options)
        if self.args.query_temperature is not None:
            q_NHD = q_NHD * _temperature(self.args.query_temperature, info.positions, q_NHD.dtype)
        if self.slopes is not None:
            return with_biases(q_NHD, k_NKD, self.slopes, info.positions, self.args.score.scale)
        return q_NHD, k_NKD

    def _normalise(self, q_NHD: Tensor, k_NKD: Tensor, options: QKNormArgs) -> tuple[Tensor, Tensor]:
        assert self.q_norm is not None and self.k_norm is not None
        if options.kind == "flat":
            q_flat, k_flat = self.q_norm(q_NHD.flatten(-2)), self.k_norm(k_NKD.flatten(-2))
            return q_flat.view_as(q_NHD), k_flat.view_as(k_NKD)
        return self.q_norm(q_NHD), self.k_norm(k_NKD)


def _qk_norm(options: QKNormArgs | None, num_heads: int, head_dim: int) -> Norm | None:
    if options is None:
        return None
    shapes = {"head": (head_dim,), "flat": (num_heads * head_dim,), "per_head": (num_heads, head_dim)}
    return Norm(options.norm, *shapes[options.kind])


def _temperature(args: QueryTemperatureArgs, positions_N: Tensor, dtype: torch.dtype) -> Tensor:
    steps = torch.floor((positions_N.float() + args.offset) / args.floor_scale)
    return (1.0 + args.beta * torch.log1p(steps)).to(dtype)[:, None, None]
