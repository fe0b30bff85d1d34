# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The dense feed-forward of a block. Dimensions: N tokens, E hidden width."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from areal.experimental.models.archon.model_args import FeedForwardArgs
from areal.experimental.models.archon.modules.activation import activation_of
from areal.experimental.models.archon.modules.fused import FusedLinears
from areal.experimental.models.archon.modules.norm import Norm
from areal.experimental.models.archon.roles import Role


class FeedForward(nn.Module):
    """w2(act(w1 x) · w3 x) (Shazeer 2020), or w2(act(w1 x)) when not gated."""

    def __init__(self, args: FeedForwardArgs, hidden_size: int) -> None:
        super().__init__()
        self.args = args
        self.w1 = nn.Linear(hidden_size, args.intermediate_size, bias=args.in_bias)
        self.w3 = nn.Linear(hidden_size, args.intermediate_size, bias=args.in_bias) if args.gated else None
        self.w2 = nn.Linear(args.intermediate_size, hidden_size, bias=args.out_bias)
        self.act = activation_of(args.activation)
        self.inner_norm = Norm(args.inner_norm, args.intermediate_size) if args.inner_norm is not None else None
        self._fused: FusedLinears | None = None

    def roles(self) -> Mapping[str, Role]:
        """See `roles`."""
        return {"w1": Role.COLUMN, "w3": Role.COLUMN, "w2": Role.ROW, "inner_norm": Role.FLAT_NORM}

    def fuse(self) -> None:
        """Compute gate and up projection in one product from now on (inference only)."""
        if self.w3 is not None:
            self._fused = FusedLinears([self.w1, self.w3])

    def forward(self, x_NE: Tensor) -> Tensor:
        """`[N, E]`."""
        if self.w3 is None:
            inner = self.act(self.w1(x_NE))
        elif self._fused is not None:
            gate, up = self._fused(x_NE).chunk(2, dim=-1)
            inner = self.act(gate).mul_(up)  # in place: this is the widest tensor of a block
        else:
            inner = self.act(self.w1(x_NE)) * self.w3(x_NE)
        return self.w2(inner if self.inner_norm is None else self.inner_norm(inner))
