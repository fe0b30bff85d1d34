# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The feed-forwards of all experts that this rank holds, on rows sorted by expert.

Called by `MoE`. Reads the number of experts and the widths off its parameters, which parallelism may have cut.
Dimensions: R rows, E hidden width, I inner width, X experts.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from areal.experimental.models.archon.model_args import ExpertArgs
from areal.experimental.models.archon.modules.activation import activation_of, clamped_swiglu
from areal.experimental.models.archon.moe.grouped_linear import RowGroups
from areal.experimental.models.archon.roles import Role


class GroupedExperts(nn.Module):
    """w2[x](act(w1[x] h) · w3[x] h) for the rows h of each expert x; without w3 when not gated.

    `num_partial_sums`: ranks whose outputs are added up (expert tensor parallelism); each contributes its share of b2.
    """

    def __init__(self, args: ExpertArgs, num_experts: int, hidden_size: int, init_std: float = 0.02) -> None:
        super().__init__()
        is_clamped = args.activation == "clamped_swiglu"
        if is_clamped and (args.clamp is None or not args.gated):
            raise ValueError(f"expected clamp and gated=True with clamped_swiglu, got {args.clamp} and {args.gated}")
        self.args = args
        self.init_std = init_std
        self.num_partial_sums = 1
        inner = args.intermediate_size
        self.w1 = nn.Parameter(torch.empty(num_experts, inner, hidden_size))
        self.w2 = nn.Parameter(torch.empty(num_experts, hidden_size, inner))
        self.w3 = nn.Parameter(torch.empty(num_experts, inner, hidden_size)) if args.gated else None
        self.b1 = nn.Parameter(torch.empty(num_experts, inner)) if args.bias else None
        self.b2 = nn.Parameter(torch.empty(num_experts, hidden_size)) if args.bias else None
        self.b3 = nn.Parameter(torch.empty(num_experts, inner)) if args.bias and args.gated else None
        self.act = None if is_clamped else activation_of(args.activation)

    def roles(self) -> Mapping[str, Role]:
        """See `roles`."""
        return dict.fromkeys(("w1", "w2", "w3", "b1", "b2", "b3"), Role.EXPERTS)

    def init_weights(self) -> None:
        """Normal matrices, zero biases."""
        with torch.no_grad():
            for weight in (self.w1, self.w2, self.w3):
                if weight is not None:
                    nn.init.normal_(weight, std=self.init_std)
            for bias in (self.b1, self.b2, self.b3):
                if bias is not None:
                    nn.init.zeros_(bias)

    def forward(self, rows_RE: Tensor, counts_X: Tensor) -> Tensor:
        """Outputs `[R, E]`; partial sums where the inner width is cut.

        Args:
            rows_RE: the first counts_X[0] rows belong to expert 0 and so on. Of rows beyond the sum of the counts, neither
                output nor gradient is defined.
            counts_X: int64, rows of each expert.
        """
        groups = RowGroups(rows_RE.shape[0], counts_X)
        gate_RI = groups.linear(rows_RE, self.w1, self.b1)
        if self.w3 is None:
            assert self.act is not None
            inner_RI = self.act(gate_RI)
        elif self.act is None:
            assert self.args.clamp is not None
            inner_RI = clamped_swiglu(
                gate_RI, groups.linear(rows_RE, self.w3, self.b3), self.args.clamp, self.args.alpha
            )
        else:
            inner_RI = self.act(gate_RI) * groups.linear(rows_RE, self.w3, self.b3)
        share = self.b2 if self.b2 is None or self.num_partial_sums == 1 else self.b2 / self.num_partial_sums
        return groups.linear(inner_RI, self.w2, share)
