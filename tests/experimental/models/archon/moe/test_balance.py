# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Balancing: bias updates by hand, counting each training token once, losses against HF's formula, statistics."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from areal.experimental.models.archon.model_args import ExpertArgs, MoEArgs, RouterArgs
from areal.experimental.models.archon.moe.balance import (
    load_statistics,
    set_router_dtype,
    set_router_losses,
    update_expert_biases,
)
from areal.experimental.models.archon.moe.losses import RouterLosses
from areal.experimental.models.archon.moe.moe import MoE

HIDDEN = 16


def _layer(num_experts: int = 4, top_k: int = 2, score: str = "softmax", selection_bias: bool = False) -> MoE:
    args = MoEArgs(
        num_experts=num_experts,
        top_k=top_k,
        router=RouterArgs(score=score, selection_bias=selection_bias),
        experts=ExpertArgs(intermediate_size=8),
    )
    layer = MoE(args, HIDDEN)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.5)
    return layer


def test_bias_update_from_known_counts_is_the_one_computed_by_hand() -> None:
    layer = _layer(selection_bias=True)
    layer.tokens_per_expert.copy_(torch.tensor([10, 2, 4, 4]))  # mean 5: signs -1 +1 +1 +1, their mean 0.5

    update_expert_biases(layer, 0.1)

    torch.testing.assert_close(layer.router.expert_bias, torch.tensor([-0.15, 0.05, 0.05, 0.05]))
    assert not layer.tokens_per_expert.any()


def test_bias_update_over_ranks_uses_the_summed_counts_of_all_layers_in_one_call() -> None:
    model = torch.nn.Sequential(_layer(selection_bias=True), _layer(num_experts=3, selection_bias=True))
    model[0].tokens_per_expert.copy_(torch.tensor([4, 0, 0, 0]))
    model[1].tokens_per_expert.copy_(torch.tensor([0, 1, 2]))
    calls: list[list[int]] = []

    def reduce(counts: Tensor) -> Tensor:
        calls.append(counts.tolist())
        return counts + torch.tensor([0, 8, 8, 8, 3, 2, 1])

    update_expert_biases(model, 1.0, reduce)

    assert calls == [[4, 0, 0, 0, 0, 1, 2]]
    torch.testing.assert_close(model[0].router.expert_bias, torch.tensor([1.5, -0.5, -0.5, -0.5]))
    assert not model[1].router.expert_bias.any()


def test_repeated_bias_updates_balance_a_skewed_router() -> None:
    layer = _layer(num_experts=8, score="sigmoid", selection_bias=True)
    x_NE = torch.randn(256, HIDDEN) + 1.0
    layer(x_NE)
    before = update_expert_biases(layer, 0.02)["moe/max_load"]

    for _ in range(100):
        layer(x_NE)
        after = update_expert_biases(layer, 0.02)["moe/max_load"]

    assert before > 1.8 and after < 1.2


def test_model_without_experts_has_no_statistics() -> None:
    assert update_expert_biases(torch.nn.Linear(2, 2), 0.1) == {}


def test_counts_in_training_add_up_over_micro_batches() -> None:
    layer = _layer()
    for num_tokens in (5, 0, 7):
        layer(torch.randn(num_tokens, HIDDEN))
    assert layer.tokens_per_expert.sum() == 12 * 2


def test_counts_outside_training_stay_zero() -> None:
    layer = _layer()
    with torch.no_grad():
        layer(torch.randn(5, HIDDEN))
    layer.eval()(torch.randn(5, HIDDEN))
    assert not layer.tokens_per_expert.any()


def test_counts_under_activation_checkpointing_see_each_token_once() -> None:
    layer = _layer()
    x_NE = torch.randn(6, HIDDEN, requires_grad=True)
    checkpoint(layer, x_NE, use_reentrant=False).sum().backward()
    assert layer.tokens_per_expert.sum() == 6 * 2


def test_counts_stay_out_of_checkpoints_and_dtype_casts() -> None:
    layer = _layer().bfloat16()
    assert layer.tokens_per_expert.dtype == torch.int64
    assert "tokens_per_expert" not in layer.state_dict()


@pytest.mark.parametrize("checkpointed", [False, True])
def test_load_balance_loss_adds_the_gradient_of_hf_formula(checkpointed: bool) -> None:
    layer, x_NE = _exact(32, num_experts=8)
    logits_NX = layer.router(x_NE).logits
    loss = load_balancing_loss_func((logits_NX,), 8, 2)
    wanted = torch.autograd.grad(0.3 * loss, layer.router.gate.weight)[0]

    without, with_loss = (_gate_gradient(layer, x_NE, losses, checkpointed) for losses in _losses(0.3, 0.0, 32))

    torch.testing.assert_close(with_loss - without, wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("score", ["sigmoid", "softmax_topk", "sparsemixer"])
def test_z_loss_adds_the_gradient_of_its_formula_for_any_score(score: str) -> None:
    layer, x_NE = _exact(32, score=score)
    loss = layer.router(x_NE).logits.logsumexp(-1).square().mean()
    wanted = torch.autograd.grad(0.2 * loss, layer.router.gate.weight)[0]

    without, with_loss = (_gate_gradient(layer, x_NE, losses) for losses in _losses(0.0, 0.2, 32))

    torch.testing.assert_close(with_loss - without, wanted, rtol=1e-5, atol=1e-7)


def test_z_loss_of_a_batch_does_not_depend_on_micro_batches() -> None:
    layer, x_NE = _exact(32)
    set_router_losses(layer, RouterLosses(z_loss=0.2, num_tokens=32))

    whole = _gate_gradient(layer, x_NE, layer.router_losses)
    parts = [_gate_gradient(layer, part, layer.router_losses) for part in x_NE.split((5, 20, 7))]

    torch.testing.assert_close(sum(parts), whole)


def test_router_losses_of_no_tokens_have_no_gradient() -> None:
    grad = _gate_gradient(_layer(), torch.zeros(0, HIDDEN), RouterLosses(load_balance=1.0, z_loss=1.0, num_tokens=8))
    assert torch.isfinite(grad).all() and not grad.any()


def test_load_balance_loss_of_sigmoid_scores_uses_their_shares() -> None:
    layer, x_NE = _exact(12, score="sigmoid")
    routing = layer.router(x_NE)
    scores_NX = routing.logits.sigmoid()
    share_X = (scores_NX / scores_NX.sum(-1, keepdim=True)).mean(0)
    load_X = torch.bincount(routing.experts.flatten(), minlength=4) / 12
    wanted = torch.autograd.grad(4 * (share_X * load_X).sum(), layer.router.gate.weight)[0]

    without, with_loss = (_gate_gradient(layer, x_NE, losses) for losses in _losses(1.0, 0.0, 12))

    torch.testing.assert_close(with_loss - without, wanted, rtol=1e-5, atol=1e-7)


def test_statistics_of_known_loads_are_those_computed_by_hand() -> None:
    balanced, one_expert = torch.tensor([5, 5, 5, 5]), torch.tensor([20, 0, 0, 0])

    statistics = load_statistics([balanced, one_expert])

    assert {key: round(value.item(), 6) for key, value in statistics.items()} == {
        "moe/max_load": 2.5,
        "moe/min_load": 0.5,
        "moe/load_entropy": 0.5,
        "moe/dropped": 0.0,
    }


def test_statistics_of_no_tokens_are_finite() -> None:
    statistics = load_statistics([torch.zeros(4, dtype=torch.int64)])
    assert all(math.isfinite(value) for value in statistics.values())


def test_router_dtype_set_for_a_model_reaches_each_gate() -> None:
    model = torch.nn.Sequential(_layer(), _layer())
    set_router_dtype(model, None)
    assert [layer.router.gate.compute_dtype for layer in model] == [None, None]


def _exact(num_tokens: int, **options: Any) -> tuple[MoE, Tensor]:
    """A layer and tokens in fp64: the tests subtract large gradients."""
    return _layer(**options).double(), torch.randn(num_tokens, HIDDEN, dtype=torch.float64)


def _losses(load_balance: float, z_loss: float, num_tokens: int) -> tuple[None, RouterLosses]:
    return None, RouterLosses(load_balance=load_balance, z_loss=z_loss, num_tokens=num_tokens)


def _gate_gradient(layer: MoE, x_NE: Tensor, losses: RouterLosses | None, checkpointed: bool = False) -> Tensor:
    set_router_losses(layer, losses)
    layer.zero_grad()
    y_NE = checkpoint(layer, x_NE, use_reentrant=False) if checkpointed else layer(x_NE)
    y_NE.square().sum().backward()
    return layer.router.gate.weight.grad.clone()
