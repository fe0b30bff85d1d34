# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The choice of experts: scores of a learned gate, top-k, and the weights with which the chosen experts' outputs are summed.

Called by `MoE`. Must never move a device value to the host. Dimensions: N tokens, E hidden width, X experts, K choices.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from areal.experimental.models.archon.model_args import RouterArgs
from areal.experimental.models.archon.roles import Role


class TokenChoiceTopKRouter(nn.Module):
    """Each token chooses `top_k` of `num_experts` experts."""

    def __init__(self, args: RouterArgs, num_experts: int, top_k: int, hidden_size: int) -> None:
        super().__init__()
        self.args = args
        self.num_experts, self.top_k = num_experts, top_k
        self.gate = nn.Linear(hidden_size, num_experts, bias=args.bias)
        self.expert_bias: Tensor | None = None
        if args.selection_bias:
            self.register_buffer("expert_bias", torch.zeros(num_experts, dtype=torch.float32))

    def roles(self) -> Mapping[str, Role]:
        """See `roles`."""
        return {"gate": Role.REPLICATED}

    def forward(self, x_NE: Tensor) -> tuple[Tensor, Tensor]:
        """Weights fp32 `[N, K]` and indices int64 `[N, K]` of the chosen experts."""
        bias = None if self.gate.bias is None else self.gate.bias.float()
        logits_NX = F.linear(x_NE.float(), self.gate.weight.float(), bias)
        scores_NX = torch.softmax(logits_NX, dim=-1)
        weights_NK, experts_NK = torch.topk(scores_NX, self.top_k, dim=-1)
        if self.args.normalize:
            weights_NK = weights_NK / weights_NK.sum(dim=-1, keepdim=True)
        return weights_NK * self.args.scale, experts_NK
