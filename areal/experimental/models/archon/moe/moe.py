# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The mixture-of-experts feed-forward of a block: route, order by expert, compute, combine, add the shared experts.

Called by `Block`. Counts the tokens of each expert for `balance`. Must never move a device value to the host.
Dimensions: N tokens, E hidden width, X experts, K choices a token, R = N·K rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from areal.experimental.models.archon.model_args import MoEArgs
from areal.experimental.models.archon.modules.exact import ExactBuffers
from areal.experimental.models.archon.modules.feed_forward import FeedForward
from areal.experimental.models.archon.moe.dispatch import LocalDispatcher, TokenDispatcher
from areal.experimental.models.archon.moe.grouped_experts import GroupedExperts
from areal.experimental.models.archon.moe.losses import RouterLosses, add_router_losses
from areal.experimental.models.archon.moe.router import TokenChoiceTopKRouter
from areal.experimental.models.archon.moe.token_reorderer import TokenOrder, TokenReorderer, gather_rows, sum_rows
from areal.experimental.models.archon.roles import Role


class MoE(ExactBuffers):
    """Σ_k weight_k · expert_k(x), plus the shared experts; no token is ever dropped.

    `dispatcher` is replaced by expert parallelism. `router_losses` is set by `balance.set_router_losses`.
    `tokens_per_expert` (int64 `[X]`, not saved) counts choices since the last `balance.update_expert_biases`.
    """

    tokens_per_expert: Tensor

    def __init__(self, args: MoEArgs, hidden_size: int, init_std: float = 0.02) -> None:
        super().__init__()
        self.args = args
        self.router = TokenChoiceTopKRouter(args.router, args.num_experts, args.top_k, hidden_size)
        self.reorderer = TokenReorderer(args.num_experts, args.top_k)
        self.experts = GroupedExperts(args.experts, args.num_experts, hidden_size, init_std)
        shared = args.shared
        self.shared_experts = None if shared is None else FeedForward(shared.feed_forward, hidden_size)
        has_gate = shared is not None and shared.gate
        self.shared_expert_gate = nn.Linear(hidden_size, 1, bias=False) if has_gate else None
        self.dispatcher: TokenDispatcher = LocalDispatcher()
        self.router_losses: RouterLosses | None = None
        counts_X = torch.zeros(args.num_experts, dtype=torch.int64, device="cpu")
        self.register_buffer("tokens_per_expert", counts_X, persistent=False)

    def roles(self) -> Mapping[str, Role]:
        """See `roles`."""
        return {"shared_expert_gate": Role.REPLICATED}

    def forward(self, x_NE: Tensor, num_real_rows: int | None = None) -> Tensor:
        """`[N, E]`. Rows from `num_real_rows` on are padding: computed, but neither counted nor balanced."""
        routing = self.router(x_NE)
        order = self.reorderer(routing.experts)
        weights_NK = routing.weights
        if self.training and torch.is_grad_enabled():
            counts_X = order.counts if num_real_rows is None else self._counts(routing.experts[:num_real_rows])
            count = _count_operator if torch.compiler.is_compiling() else _count
            count(self.tokens_per_expert, counts_X)
            if self.router_losses is not None:
                real = routing._replace(logits=routing.logits[:num_real_rows])
                weights_NK = add_router_losses(real, counts_X, self.router_losses, self.args.router.score)
        y_NE = self._experts(x_NE, weights_NK, order)
        if self.shared_experts is not None:
            y_NE = y_NE + self._shared(x_NE)
        return y_NE if self.args.output_scale == 1.0 else y_NE * self.args.output_scale

    def _experts(self, x_NE: Tensor, weights_NK: Tensor, order: TokenOrder) -> Tensor:
        rows_RE = gather_rows(x_NE, order)
        if self.args.weight_on_input:
            rows_RE = rows_RE * weights_NK.flatten()[order.slots, None].to(x_NE.dtype)
        local_rows, local_counts, state = self.dispatcher.dispatch(rows_RE, order.counts)
        rows_RE = self.dispatcher.combine(self.experts(local_rows, local_counts), state)
        return sum_rows(rows_RE, order, None if self.args.weight_on_input else weights_NK)

    def _shared(self, x_NE: Tensor) -> Tensor:
        assert self.shared_experts is not None
        y_NE = self.shared_experts(x_NE)
        return y_NE if self.shared_expert_gate is None else y_NE * torch.sigmoid(self.shared_expert_gate(x_NE))

    def _counts(self, experts_NK: Tensor) -> Tensor:
        flat = experts_NK.flatten()
        counts_X = torch.zeros(self.args.num_experts, dtype=torch.int64, device=flat.device)
        return counts_X.scatter_add_(0, flat, torch.ones_like(flat))


def _count(total_X: Tensor, counts_X: Tensor) -> None:
    """Add to the total, unless this forward runs inside a backward, as activation checkpointing does: counted before."""
    if torch._C._current_graph_task_id() == -1:  # what torch.utils.checkpoint itself asks
        total_X.add_(counts_X)


# An operator of its own, because a tracer would ask the question once, at compile time.
_count_operator = torch.library.custom_op("areal::count_tokens_of_experts", _count, mutates_args=("total_X",))


def moe_layers(model: nn.Module) -> dict[str, MoE]:
    """All MoE layers of a model or stage by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, MoE)}
