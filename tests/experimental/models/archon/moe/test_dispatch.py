# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The seam for expert parallelism: a dispatcher that reorders rows changes nothing, and may overlap with itself."""

from __future__ import annotations

import torch
from torch import Tensor

from areal.experimental.models.archon.model_args import ExpertArgs, MoEArgs, RouterArgs
from areal.experimental.models.archon.moe.moe import MoE

HIDDEN = 16


class ReversedDispatcher:
    """Reverses the rows within each expert, as rows of several source ranks would come in another order."""

    def dispatch(self, rows_RE: Tensor, counts_X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = torch.arange(rows_RE.shape[0]).split(counts_X.tolist())
        order_R = torch.cat([part.flip(0) for part in parts])
        return rows_RE[order_R], counts_X, order_R

    def combine(self, rows: Tensor, state: Tensor) -> Tensor:
        return rows[state.argsort()]


def _layer() -> MoE:
    args = MoEArgs(num_experts=4, top_k=2, router=RouterArgs(), experts=ExpertArgs(intermediate_size=8))
    layer = MoE(args, HIDDEN).double()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    return layer


def test_dispatcher_that_moves_rows_gives_the_same_outputs_and_gradients() -> None:
    results = []
    x_NE = torch.randn(9, HIDDEN, dtype=torch.float64)
    for is_moving in (False, True):
        layer, x = _layer(), x_NE.clone().requires_grad_()
        if is_moving:
            layer.dispatcher = ReversedDispatcher()
        y_NE = layer(x)
        results.append((y_NE, *torch.autograd.grad(y_NE.sin().sum(), (x, *layer.parameters()))))
    torch.testing.assert_close(results[0], results[1])


def test_moe_of_no_tokens_runs_backward_with_zero_gradients() -> None:
    layer = _layer()
    x_NE = torch.zeros(0, HIDDEN, dtype=torch.float64, requires_grad=True)

    layer(x_NE).sum().backward()

    assert x_NE.grad.shape == (0, HIDDEN)
    assert all(not parameter.grad.any() for parameter in layer.parameters())


def test_moe_in_bf16_stays_near_its_exact_result() -> None:
    exact = _layer()
    low = _layer().bfloat16()
    exact.load_state_dict({key: value.double() for key, value in low.state_dict().items()})
    x_NE = torch.randn(64, HIDDEN).bfloat16()

    y_NE, wanted_NE = low(x_NE), exact(x_NE.double())

    assert y_NE.dtype == torch.bfloat16
    error = (y_NE.double() - wanted_NE).norm() / wanted_NE.norm()
    assert error < 2e-2
