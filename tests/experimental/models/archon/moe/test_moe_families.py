# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Our MoE layer against the HF block of each family with a router of its own: outputs and all gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from areal.experimental.models.archon.moe.moe import MoE
from tests.experimental.models.archon.moe.hf_blocks import FAMILIES, HIDDEN, Family, output_of

NUM_TOKENS = 40


def _ours(family: Family, hf: torch.nn.Module) -> MoE:
    layer = MoE(family.args, HIDDEN).eval()
    layer.load_state_dict(family.ours(hf.state_dict()), strict=True)
    return layer


def _assert_close(ours: Tensor, theirs: Tensor, name: str) -> None:
    scale = theirs.abs().max().item()
    assert scale > 0, f"{name}: the reference is zero and proves nothing"
    error = (ours - theirs).abs().max().item() / scale
    assert error < 2e-6, f"{name}: relative error {error:.1e}"


@pytest.mark.parametrize("name", FAMILIES)
def test_moe_of_hf_family_gives_its_outputs_and_gradients(name: str) -> None:
    family = FAMILIES[name]
    hf = family.build()
    layer = _ours(family, hf)
    x_NE = torch.randn(NUM_TOKENS, HIDDEN)
    g_NE = torch.randn(NUM_TOKENS, HIDDEN)
    inputs = [x_NE.clone().requires_grad_() for _ in range(2)]

    y_NE = layer(inputs[0])
    hf_NE = output_of(hf(inputs[1][None] + 0)).view(NUM_TOKENS, HIDDEN)
    y_NE.backward(g_NE)
    hf_NE.backward(g_NE)

    _assert_close(y_NE, hf_NE, "output")
    _assert_close(inputs[0].grad, inputs[1].grad, "gradient of the input")
    wanted = family.ours({key: p.grad for key, p in hf.named_parameters() if p.grad is not None})
    assert wanted.keys() == dict(layer.named_parameters()).keys()
    for key, parameter in layer.named_parameters():
        _assert_close(parameter.grad, wanted[key], key)


@pytest.mark.parametrize("name", ["deepseek_v2 in groups", "deepseek_v3", "ernie4_5_moe", "laguna", "phimoe"])
def test_router_option_of_hf_family_changes_the_choice(name: str) -> None:
    """Guards the test above: with these seeds, groups, biases and masks do decide."""
    family = FAMILIES[name]
    layer = _ours(family, family.build())
    x_NE = torch.randn(NUM_TOKENS, HIDDEN)

    routing = layer.router(x_NE)

    if name == "phimoe":
        plain_NK = routing.logits.softmax(-1).gather(-1, routing.experts)
        assert not torch.allclose(plain_NK, routing.weights)
    else:
        plain_NK = routing.logits.topk(family.top_k).indices
        assert (plain_NK.sort(-1).values != routing.experts.sort(-1).values).any()
