# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The feed-forwards of all experts, on rows that are sorted by expert.

Called by `MoE`. Dimensions: R rows, E hidden width, I inner width, X (local) experts.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from areal.experimental.models.archon.model_args import ExpertArgs
from areal.experimental.models.archon.modules.activation import activation_of, clamped_swiglu
from areal.experimental.models.archon.roles import Role


class GroupedExperts(nn.Module):
    """w2[x](act(w1[x] h) · w3[x] h) for the rows h of each expert x."""

    def __init__(self, args: ExpertArgs, num_experts: int, hidden_size: int) -> None:
        super().__init__()
        self.args = args
        inner = args.intermediate_size
        self.w1 = nn.Parameter(torch.empty(num_experts, inner, hidden_size))
        self.w2 = nn.Parameter(torch.empty(num_experts, hidden_size, inner))
        self.w3 = nn.Parameter(torch.empty(num_experts, inner, hidden_size)) if args.gated else None
        self.b1 = nn.Parameter(torch.empty(num_experts, inner)) if args.bias else None
        self.b2 = nn.Parameter(torch.empty(num_experts, hidden_size)) if args.bias else None
        self.b3 = nn.Parameter(torch.empty(num_experts, inner)) if args.bias and args.gated else None
        self.act = None if args.activation == "clamped_swiglu" else activation_of(args.activation)

    def roles(self) -> Mapping[str, Role]:
        """See `roles`."""
        return dict.fromkeys(("w1", "w2", "w3", "b1", "b2", "b3"), Role.EXPERTS)

    def init_weights(self) -> None:
        """Small normal matrices, zero biases."""
        with torch.no_grad():
            for weight in (self.w1, self.w2, self.w3):
                if weight is not None:
                    nn.init.normal_(weight, std=0.02)
            for bias in (self.b1, self.b2, self.b3):
                if bias is not None:
                    nn.init.zeros_(bias)

    def forward(self, rows_RE: Tensor, counts_X: Tensor) -> Tensor:
        """Outputs `[R, E]`; the first counts_X[0] rows belong to expert 0 and so on."""
        parts = rows_RE.split(counts_X.tolist())
        return torch.cat([self._expert(x, part) for x, part in enumerate(parts)])

    def _expert(self, x: int, rows: Tensor) -> Tensor:
        gate = F.linear(rows, self.w1[x], None if self.b1 is None else self.b1[x])
        up = None if self.w3 is None else F.linear(rows, self.w3[x], None if self.b3 is None else self.b3[x])
        if self.act is None:
            inner = clamped_swiglu(gate, up, self.args.clamp, self.args.alpha)
        else:
            inner = self.act(gate) if up is None else self.act(gate) * up
        return F.linear(inner, self.w2[x], None if self.b2 is None else self.b2[x])
