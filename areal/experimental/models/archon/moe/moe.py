# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The mixture-of-experts feed-forward of a block: route, order by expert, compute, combine, add the shared experts.

Called by `Block`. Dimensions: N tokens, E hidden width, X experts, K choices a token, R = N·K rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from areal.experimental.models.archon.model_args import MoEArgs
from areal.experimental.models.archon.modules.feed_forward import FeedForward
from areal.experimental.models.archon.moe.grouped_experts import GroupedExperts
from areal.experimental.models.archon.moe.router import TokenChoiceTopKRouter
from areal.experimental.models.archon.roles import Role


class MoE(nn.Module):
    """Σ_k weight_k · expert_k(x), plus the shared experts."""

    def __init__(self, args: MoEArgs, hidden_size: int) -> None:
        super().__init__()
        self.args = args
        self.router = TokenChoiceTopKRouter(args.router, args.num_experts, args.top_k, hidden_size)
        self.experts = GroupedExperts(args.experts, args.num_experts, hidden_size)
        shared = args.shared
        self.shared_experts = None if shared is None else FeedForward(shared.feed_forward, hidden_size)
        has_gate = shared is not None and shared.gate
        self.shared_expert_gate = nn.Linear(hidden_size, 1, bias=False) if has_gate else None

    def roles(self) -> Mapping[str, Role]:
        """See `roles`."""
        return {"shared_expert_gate": Role.REPLICATED}

    def forward(self, x_NE: Tensor) -> Tensor:
        """`[N, E]`."""
        weights_NK, experts_NK = self.router(x_NE)
        slots_R = experts_NK.flatten().argsort(stable=True)
        counts_X = torch.bincount(experts_NK.flatten(), minlength=self.args.num_experts)
        tokens_R = slots_R // self.args.top_k
        rows_RE = x_NE[tokens_R]
        weights_R1 = weights_NK.flatten()[slots_R, None].to(x_NE.dtype)
        if self.args.weight_on_input:
            rows_RE = rows_RE * weights_R1
        rows_RE = self.experts(rows_RE, counts_X)
        if not self.args.weight_on_input:
            rows_RE = rows_RE * weights_R1
        y_NE = torch.zeros_like(x_NE).index_add(0, tokens_R, rows_RE)
        return y_NE if self.shared_experts is None else y_NE + self._shared(x_NE)

    def _shared(self, x_NE: Tensor) -> Tensor:
        assert self.shared_experts is not None
        y_NE = self.shared_experts(x_NE)
        return y_NE if self.shared_expert_gate is None else y_NE * torch.sigmoid(self.shared_expert_gate(x_NE))
