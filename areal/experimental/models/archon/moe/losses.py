# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Auxiliary losses of the router, added through its gradient: no layer's signature changes, under any pipeline schedule.

Called by `MoE`; the engine sets the coefficients by `balance.set_router_losses`. Dimensions: N tokens, X experts, K choices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from areal.experimental.models.archon.moe.router import Routing


@dataclass(frozen=True, kw_only=True)
class RouterLosses:
    """Terms added to the objective: Σ over forward passes and layers of (N / num_tokens) · (αL + βZ).

    load_balance: α. L = X Σ_x f_x P_x, where f_x is the number of choices of expert x a token and P_x its mean probability
    (Fedus et al. 2021, eq. 4-6, without α; K when balanced). z_loss: β. Z is the mean over tokens of (log Σ_x exp logit_x)²
    (Zoph et al. 2022, eq. 5). num_tokens: tokens of the whole optimizer step over all ranks and micro-batches, so that
    the terms do not depend on how a batch is cut (L does through f and P, which are those of the pass).
    """

    load_balance: float = 0.0
    z_loss: float = 0.0
    num_tokens: int | Tensor = 1


def add_router_losses(routing: Routing, counts_X: Tensor, losses: RouterLosses, score: str) -> Tensor:
    """The weights of `routing`, unchanged; their backward adds the gradient of the losses to the logits."""
    value = routing.logits.new_zeros(())
    if losses.load_balance:
        value = value + losses.load_balance * _load_balance(routing.logits, counts_X, score)
    if losses.z_loss:
        value = value + losses.z_loss * routing.logits.logsumexp(dim=-1).square().sum()
    return _AddLoss.apply(routing.weights, value / losses.num_tokens)


def _load_balance(logits_NX: Tensor, counts_X: Tensor, score: str) -> Tensor:
    """N · L. Sigmoid scores are normalised to probabilities (DeepSeek-V3, eq. 18-20)."""
    if score in ("sigmoid", "sigmoid_topk"):
        scores_NX = logits_NX.sigmoid()
        probs_NX = scores_NX / scores_NX.sum(dim=-1, keepdim=True)
    else:
        probs_NX = logits_NX.softmax(dim=-1)
    num_tokens, num_experts = logits_NX.shape
    load_X = counts_X.to(probs_NX.dtype) / max(num_tokens, 1)
    return num_experts * (load_X * probs_NX.sum(dim=0)).sum()


class _AddLoss(torch.autograd.Function):
    """y = x; the gradient of `loss` is 1, as if it had been added to the objective."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, loss: Tensor) -> Tensor:
        ctx.dtype = loss.dtype
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad, torch.ones((), dtype=ctx.dtype, device=grad.device)
