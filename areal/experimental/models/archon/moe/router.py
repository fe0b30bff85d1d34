# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The choice of experts: scores of a learned gate, top-k, and the weights with which the chosen experts' outputs are summed.

Called by `MoE`. Deterministic: a policy must route a token the same way each time its log-prob is computed. Must never move
a device value to the host. Dimensions: N tokens, E hidden width, X experts, K choices, G groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from areal.experimental.models.archon.model_args import RouterArgs
from areal.experimental.models.archon.modules.exact import ExactBuffers
from areal.experimental.models.archon.roles import Role


class Routing(NamedTuple):
    """What the router decided: weights `[N, K]`, indices int64 `[N, K]` of experts, logits `[N, X]`."""

    weights: Tensor
    experts: Tensor
    logits: Tensor


class RouterGateLinear(nn.Linear):
    """A linear whose product is computed in `compute_dtype`, whatever its weight has; None: in the weight's dtype.

    bf16 logits of experts with close scores tie, and a tie broken differently by trainer and server is another expert.
    """

    compute_dtype: torch.dtype | None = torch.float32

    def forward(self, x: Tensor) -> Tensor:
        """`[..., X]` in the dtype of the product."""
        logits = router_gating_linear(x, self.weight, self.compute_dtype)
        return logits if self.bias is None else logits + self.bias.to(logits.dtype)


class TokenChoiceTopKRouter(ExactBuffers):
    """Each token chooses `top_k` of `num_experts` experts, by the rules of `RouterArgs`.

    `expert_bias` stays in float32 under casts: its updates (1e-3) are below the resolution of bf16, which would freeze it.
    """

    expert_bias: Tensor | None

    def __init__(self, args: RouterArgs, num_experts: int, top_k: int, hidden_size: int) -> None:
        super().__init__()
        _check(args, num_experts, top_k)
        self.args = args
        self.num_experts, self.top_k = num_experts, top_k
        self.gate = RouterGateLinear(hidden_size, num_experts, bias=args.bias)
        bias_X = torch.zeros(num_experts, dtype=torch.float32, device="cpu") if args.selection_bias else None
        self.register_buffer("expert_bias", bias_X)

    def roles(self) -> Mapping[str, Role]:
        """See `roles`."""
        return {"gate": Role.REPLICATED}

    def forward(self, x_NE: Tensor) -> Routing:
        """Weights (in at least fp32), experts and logits of each token."""
        logits_NX = self.gate(x_NE)
        if self.args.softcap is not None:
            logits_NX = torch.tanh(logits_NX / self.args.softcap) * self.args.softcap
        exact_NX = logits_NX if logits_NX.dtype == torch.float64 else logits_NX.float()
        if self.args.score == "sparsemixer":
            weights_NK, experts_NK = _sparsemixer(exact_NX, self.top_k, self.args.jitter_eps)
        else:
            weights_NK, experts_NK = self._top_k(exact_NX)
        if self.args.normalize:
            weights_NK = weights_NK / self._denominator(weights_NK.sum(dim=-1, keepdim=True))
        if self.args.scale != 1.0:
            weights_NK = weights_NK * self.args.scale
        return Routing(weights_NK, experts_NK, exact_NX)

    def _top_k(self, logits_NX: Tensor) -> tuple[Tensor, Tensor]:
        score = self.args.score
        if score in ("softmax_topk", "sigmoid_topk"):
            scores_NX = logits_NX
        else:
            scores_NX = logits_NX.sigmoid() if score == "sigmoid" else logits_NX.softmax(dim=-1)
        if self.expert_bias is None and self.args.num_groups == 1:
            chosen_NK, experts_NK = scores_NX.topk(self.top_k, dim=-1)
        else:
            experts_NK = self._select(scores_NX.detach())
            chosen_NK = scores_NX.gather(-1, experts_NK)
        if score == "softmax_topk":
            chosen_NK = chosen_NK.softmax(dim=-1)
        return chosen_NK.sigmoid() if score == "sigmoid_topk" else chosen_NK, experts_NK

    def _select(self, scores_NX: Tensor) -> Tensor:
        """Experts `[N, K]` by biased scores, within the best groups (DeepSeek-V3, eq. 16 and section 2.1.2)."""
        if self.expert_bias is not None:
            scores_NX = scores_NX + self.expert_bias
        if self.args.num_groups > 1:
            grouped_NGX = scores_NX.unflatten(-1, (self.args.num_groups, -1))
            if self.args.group_reduce == "max":
                merit_NG = grouped_NGX.amax(dim=-1)
            else:
                merit_NG = grouped_NGX.topk(2, dim=-1).values.sum(dim=-1)
            best_NG = merit_NG.topk(self.args.num_limited_groups, dim=-1).indices
            is_out_NG = torch.ones_like(merit_NG, dtype=torch.bool).scatter_(-1, best_NG, False)
            masked = 0.0 if self.args.masked_score == "zero" else -torch.inf
            scores_NX = grouped_NGX.masked_fill(is_out_NG.unsqueeze(-1), masked).flatten(-2)
        return scores_NX.topk(self.top_k, dim=-1).indices

    def _denominator(self, sum_N1: Tensor) -> Tensor:
        eps = self.args.normalize_eps
        return sum_N1.clamp(min=eps) if self.args.normalize_by == "clamp" else sum_N1 + eps


def router_gating_linear(x: Tensor, weight: Tensor, compute_dtype: torch.dtype | None) -> Tensor:
    """x · weightᵀ computed in `compute_dtype` or a wider one of the operands; gradients have the operands' dtypes."""
    if compute_dtype is None:
        return F.linear(x, weight)
    compute_dtype = torch.promote_types(compute_dtype, x.dtype)
    if x.dtype == weight.dtype == compute_dtype:
        return F.linear(x, weight)
    return _CastLinear.apply(x, weight, compute_dtype)


class _CastLinear(torch.autograd.Function):
    """Saves the operands in their own dtypes: plain autograd would keep a second, wider copy of the activations."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dtype = dtype
        return F.linear(x.to(dtype), weight.to(dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        grad = grad.to(ctx.dtype)
        grad_x = (grad @ weight.to(ctx.dtype)).to(x.dtype) if ctx.needs_input_grad[0] else None
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grad.flatten(0, -2).T @ x.flatten(0, -2).to(ctx.dtype)).to(weight.dtype)
        return grad_x, grad_weight, None


def _sparsemixer(logits_NX: Tensor, top_k: int, jitter_eps: float) -> tuple[Tensor, Tensor]:
    """SparseMixer-2 as phimoe evaluates it (Liu et al. 2024): one expert after the other, each by its own softmax.

    The i-th softmax leaves out the experts chosen before and those whose logit is further than 2ε (relative) below the
    maximum of the rest. Its training mode samples experts instead; RL needs the policy that the server has.
    """
    left_NX = logits_NX
    weights, experts = [], []
    for _ in range(top_k):
        best_N1, expert_N1 = left_NX.detach().max(dim=-1, keepdim=True)
        distance_NX = (best_N1 - logits_NX.detach()) / torch.maximum(logits_NX.detach().abs(), best_N1)
        close_NX = left_NX.masked_fill(distance_NX > 2 * jitter_eps, -torch.inf)
        weights.append(close_NX.softmax(dim=-1).gather(-1, expert_N1))
        experts.append(expert_N1)
        left_NX = left_NX.scatter(-1, expert_N1, -torch.inf)
    return torch.cat(weights, dim=-1), torch.cat(experts, dim=-1)


def _check(args: RouterArgs, num_experts: int, top_k: int) -> None:
    if not 1 <= top_k <= num_experts:
        raise ValueError(f"expected top_k between 1 and num_experts={num_experts}, got {top_k}")
    if num_experts % args.num_groups:
        raise ValueError(f"expected num_experts divisible by num_groups={args.num_groups}, got {num_experts}")
    if not 1 <= args.num_limited_groups <= args.num_groups:
        raise ValueError(
            f"expected num_limited_groups between 1 and num_groups={args.num_groups}, got {args.num_limited_groups}"
        )
    group_size = num_experts // args.num_groups
    if group_size * args.num_limited_groups < top_k:
        raise ValueError(
            f"expected at least top_k={top_k} experts in the chosen groups, got {args.num_limited_groups} groups of {group_size}"
        )
    if args.num_groups > 1 and args.group_reduce == "top2_sum" and group_size < 2:
        raise ValueError(f"expected groups of at least 2 experts for group_reduce=top2_sum, got {group_size}")
    if args.score == "sparsemixer" and (args.selection_bias or args.num_groups > 1):
        raise ValueError("expected no selection_bias and one group with score=sparsemixer, got one of them")
