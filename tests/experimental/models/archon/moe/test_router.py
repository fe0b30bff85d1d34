# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Router: precision of the gate, the selection bias, and options that cannot be."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from areal.experimental.models.archon.model_args import RouterArgs
from areal.experimental.models.archon.moe.router import RouterGateLinear, TokenChoiceTopKRouter, router_gating_linear


def test_gate_of_bf16_weights_computes_in_fp32_and_returns_bf16_gradients() -> None:
    torch.manual_seed(0)
    gate = RouterGateLinear(32, 8, bias=False).bfloat16()
    x_NE = torch.randn(10, 32).bfloat16().requires_grad_()
    g_NX = torch.randn(10, 8)
    exact = [t.detach().double().requires_grad_() for t in (x_NE, gate.weight)]

    logits_NX = gate(x_NE)
    logits_NX.backward(g_NX)

    wanted_NX = exact[0] @ exact[1].T
    wanted_NX.backward(g_NX.double())
    assert logits_NX.dtype == torch.float32 and x_NE.grad.dtype == gate.weight.grad.dtype == torch.bfloat16
    torch.testing.assert_close(logits_NX.double(), wanted_NX, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(x_NE.grad, exact[0].grad.bfloat16())
    torch.testing.assert_close(gate.weight.grad, exact[1].grad.bfloat16())


def test_gate_of_bf16_weights_saves_no_wider_copy_for_backward() -> None:
    saved: list[torch.dtype] = []
    x_NE, weight = (torch.randn(4, 16).bfloat16().requires_grad_() for _ in range(2))

    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.dtype) or t, lambda t: t):
        router_gating_linear(x_NE, weight, torch.float32)

    assert saved == [torch.bfloat16, torch.bfloat16]


def test_gate_without_compute_dtype_stays_in_the_weight_dtype() -> None:
    gate = RouterGateLinear(16, 4, bias=True).bfloat16()
    gate.compute_dtype = None
    assert gate(torch.randn(3, 16).bfloat16()).dtype == torch.bfloat16


def test_selection_bias_after_casts_and_to_empty_keeps_fp32_and_its_values() -> None:
    router = TokenChoiceTopKRouter(RouterArgs(selection_bias=True), 4, 2, 8)
    router.expert_bias.copy_(torch.tensor([1e-3, 1.0 + 1e-6, 0.0, -1.0]))
    values = router.expert_bias.clone()

    router.bfloat16().half()

    assert router.gate.weight.dtype == torch.float16
    assert router.expert_bias.dtype == torch.float32 and torch.equal(router.expert_bias, values)
    assert "expert_bias" in router.state_dict()


def test_selection_bias_of_a_meta_model_is_zero_when_materialised() -> None:
    with torch.device("meta"):
        router = TokenChoiceTopKRouter(RouterArgs(selection_bias=True), 4, 2, 8)
    router.to_empty(device="cpu")
    assert torch.equal(router.expert_bias, torch.zeros(4))


def test_selection_bias_changes_the_choice_but_not_the_weights() -> None:
    router = TokenChoiceTopKRouter(RouterArgs(score="sigmoid", selection_bias=True), 4, 2, 8)
    router.expert_bias.copy_(torch.tensor([0.0, 0.0, 10.0, 10.0]))
    x_NE = torch.randn(6, 8)

    routing = router(x_NE)

    assert set(routing.experts.flatten().tolist()) == {2, 3}
    torch.testing.assert_close(routing.weights, router.gate(x_NE).sigmoid().gather(1, routing.experts))


@pytest.mark.parametrize(
    ("options", "top_k", "message"),
    [
        ({}, 9, "top_k between 1 and num_experts=8, got 9"),
        ({"num_groups": 3}, 2, "divisible by num_groups=3, got 8"),
        ({"num_groups": 4, "num_limited_groups": 5}, 2, "between 1 and num_groups=4, got 5"),
        ({"num_groups": 4, "num_limited_groups": 1}, 3, "at least top_k=3"),
        ({"num_groups": 8, "num_limited_groups": 4}, 2, "groups of at least 2 experts"),
        ({"score": "sparsemixer", "selection_bias": True}, 2, "no selection_bias"),
    ],
)
def test_router_with_impossible_options_says_which(options: dict[str, Any], top_k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenChoiceTopKRouter(RouterArgs(**options), 8, top_k, 16)
