# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, eq. 37-47): keys and values from one latent vector a token.

Head counts are read off the projections' outputs: under tensor parallelism a rank has its share of heads, and the latent
vectors whole. Dimensions: N tokens, E hidden width, H heads, D = nope + rope width of q and k, W value width, R rope width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from areal.experimental.models.archon.contexts.protocol import TokenInfo
from areal.experimental.models.archon.model_args import MLAArgs
from areal.experimental.models.archon.modules.fused import FusedLinears
from areal.experimental.models.archon.modules.norm import Norm
from areal.experimental.models.archon.modules.rope import rotate
from areal.experimental.models.archon.roles import Role


class MLAttention(nn.Module):
    """`wo(softmax attention)` with q = wq_b·norm(wq_a x) (or wq x), [c | k_rope] = wkv_a x, [k_nope | v] = wkv_b·norm(c).

    The rope part of the key is one vector a token, which all heads share.
    """

    def __init__(self, args: MLAArgs, hidden_size: int, layer: int, rope_style: str) -> None:
        super().__init__()
        self.args, self.layer, self.rope_style = args, layer, rope_style
        query_width = args.num_heads * (args.nope_head_dim + args.rope_head_dim)
        if args.q_rank is None:
            self.wq = nn.Linear(hidden_size, query_width, bias=False)
            self.wq_a = self.q_a_norm = self.wq_b = None
        else:
            self.wq = None
            self.wq_a = nn.Linear(hidden_size, args.q_rank, bias=args.bias)
            self.q_a_norm = Norm(args.norm, args.q_rank)
            self.wq_b = nn.Linear(args.q_rank, query_width, bias=False)
        self.wkv_a = nn.Linear(hidden_size, args.kv_rank + args.rope_head_dim, bias=args.bias)
        self.kv_a_norm = Norm(args.norm, args.kv_rank)
        self.wkv_b = nn.Linear(args.kv_rank, args.num_heads * (args.nope_head_dim + args.value_head_dim), bias=False)
        self.wo = nn.Linear(args.num_heads * args.value_head_dim, hidden_size, bias=args.out_bias)
        self._fused: FusedLinears | None = None

    def roles(self) -> Mapping[str, Role]:
        """See `roles`."""
        whole = dict.fromkeys(("wq_a", "q_a_norm", "wkv_a", "kv_a_norm"), Role.REPLICATED)
        return {**whole, "wq": Role.COLUMN, "wq_b": Role.COLUMN, "wkv_b": Role.COLUMN, "wo": Role.ROW}

    def fuse(self) -> None:
        """Compute both projections of the input in one product from now on (inference only)."""
        query = self.wq if self.wq_a is None else self.wq_a
        assert query is not None
        if (query.bias is None) == (self.wkv_a.bias is None):
            self._fused = FusedLinears([query, self.wkv_a])

    def forward(self, x_NE: Tensor, info: TokenInfo) -> Tensor:
        """`[N, E]`."""
        args = self.args
        q, latent = self._project(x_NE)
        if self.wq_b is not None:
            assert self.q_a_norm is not None
            q = self.wq_b(self.q_a_norm(q))
        latent, k_rope = latent.split((args.kv_rank, args.rope_head_dim), dim=-1)
        k_nope, v = (
            self.wkv_b(self.kv_a_norm(latent))
            .unflatten(-1, (-1, args.nope_head_dim + args.value_head_dim))
            .split((args.nope_head_dim, args.value_head_dim), dim=-1)
        )
        q_nope, q_rope = q.unflatten(-1, (-1, args.nope_head_dim + args.rope_head_dim)).split(
            (args.nope_head_dim, args.rope_head_dim), dim=-1
        )
        cos, sin = info.ropes[args.rope]
        q_rope = rotate(q_rope, cos, sin, self.rope_style)
        k_rope = rotate(k_rope.unsqueeze(-2), cos, sin, self.rope_style)
        q = torch.cat((q_nope, q_rope), dim=-1)
        k = torch.cat((k_nope, k_rope.expand(-1, k_nope.shape[1], -1)), dim=-1)
        y = info.context.attend(self.layer, q, k, v, args.score, None)
        return self.wo(y.flatten(-2))

    def _project(self, x_NE: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (or their latent vectors), and [c | k_rope]."""
        if self._fused is not None:
            q, latent = self._fused(x_NE).split(self._fused.sizes, dim=-1)
            return q, latent
        query = self.wq if self.wq_a is None else self.wq_a
        assert query is not None
        return query(x_NE), self.wkv_a(x_NE)
