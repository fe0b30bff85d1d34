# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Token order: a stable sort by expert, and gather and weighted sum against plain indexing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from areal.experimental.models.archon.moe.token_reorderer import TokenReorderer, gather_rows, sum_rows


def _choices(num_tokens: int, num_experts: int, top_k: int) -> Tensor:
    generator = torch.Generator().manual_seed(num_tokens)
    return torch.rand(num_tokens, num_experts, generator=generator).topk(top_k).indices


def test_order_of_three_tokens_is_the_one_worked_out_by_hand() -> None:
    experts_NK = torch.tensor([[2, 0], [0, 3], [2, 3]])

    order = TokenReorderer(num_experts=5, top_k=2)(experts_NK)

    assert order.tokens.tolist() == [0, 1, 0, 2, 1, 2]
    assert order.slots.tolist() == [1, 2, 0, 4, 3, 5]
    assert order.rows.tolist() == [[2, 0], [1, 4], [3, 5]]
    assert order.counts.tolist() == [2, 0, 2, 2, 0]


@pytest.mark.parametrize("num_tokens", [0, 1, 37])
@pytest.mark.parametrize("top_k", [1, 3])
def test_gather_and_sum_equal_plain_indexing_forward_and_backward(num_tokens: int, top_k: int) -> None:
    order = TokenReorderer(8, top_k)(_choices(num_tokens, 8, top_k))
    weights_NK = torch.rand(num_tokens, top_k, dtype=torch.float64, requires_grad=True)
    x_NE = torch.randn(num_tokens, 6, dtype=torch.float64, requires_grad=True)
    g_NE = torch.randn(num_tokens, 6, dtype=torch.float64)

    y_NE = sum_rows(gather_rows(x_NE, order).sin(), order, weights_NK) + sum_rows(gather_rows(x_NE, order), order)
    grads = torch.autograd.grad(y_NE, (x_NE, weights_NK), g_NE)

    slots_NKE = x_NE[:, None].expand(-1, top_k, -1)
    wanted_NE = (slots_NKE.sin() * weights_NK[..., None] + slots_NKE).sum(1)
    wanted = torch.autograd.grad(wanted_NE, (x_NE, weights_NK), g_NE)
    torch.testing.assert_close(y_NE, wanted_NE)
    torch.testing.assert_close(grads, wanted)


def test_weighted_sum_of_bf16_rows_accumulates_in_fp32_and_keeps_fp32_weight_gradients() -> None:
    order = TokenReorderer(8, 8)(_choices(5, 8, 8))
    rows_RE = torch.randn(40, 32).bfloat16().requires_grad_()
    weights_NK = torch.rand(5, 8, requires_grad=True)

    y_NE = sum_rows(rows_RE, order, weights_NK)
    y_NE.sum().backward()

    exact_NKE = rows_RE.double()[order.rows] * weights_NK.bfloat16().double()[..., None]
    torch.testing.assert_close(y_NE, exact_NKE.sum(1).bfloat16())
    assert weights_NK.grad.dtype == torch.float32 and rows_RE.grad.dtype == torch.bfloat16
