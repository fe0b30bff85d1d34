# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The whole MoE layer as one compiled graph, with activation checkpointing inside or outside of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from areal.experimental.models.archon.model_args import ExpertArgs, MoEArgs, RouterArgs
from areal.experimental.models.archon.moe.balance import set_router_losses
from areal.experimental.models.archon.moe.losses import RouterLosses
from areal.experimental.models.archon.moe.moe import MoE

Forward = Callable[[Tensor], Tensor]


def _layer() -> MoE:
    args = MoEArgs(
        num_experts=4, top_k=2, router=RouterArgs(selection_bias=True), experts=ExpertArgs(intermediate_size=8)
    )
    layer = MoE(args, 16)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.5)
    set_router_losses(layer, RouterLosses(load_balance=0.1, z_loss=0.1, num_tokens=10))
    return layer


def _compiled(function: Forward) -> Forward:
    return torch.compile(function, backend="aot_eager", fullgraph=True)


def _checkpointed(function: Forward) -> Forward:
    return lambda x_NE: checkpoint(function, x_NE, use_reentrant=False)


@pytest.mark.parametrize(
    "wrap",
    [_compiled, lambda layer: _compiled(_checkpointed(layer)), lambda layer: _checkpointed(_compiled(layer))],
    ids=["plain", "checkpoint inside", "checkpoint outside"],
)
def test_compiled_moe_gives_the_same_results_and_counts_each_token_once(wrap: Callable[[Forward], Forward]) -> None:
    torch._dynamo.reset()
    x_NE = torch.randn(10, 16)
    results = []
    for build in (lambda layer: layer, wrap):
        layer = _layer()
        y_NE = build(layer)(x_NE)
        y_NE.sin().sum().backward()
        results.append((y_NE, [p.grad for p in layer.parameters()], layer.tokens_per_expert))
    torch.testing.assert_close(results[1], results[0])
