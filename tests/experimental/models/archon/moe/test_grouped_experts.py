# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Grouped experts against one feed-forward for each row; partial sums, odd widths, experts and ranks without rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from areal.experimental.models.archon.model_args import ExpertArgs
from areal.experimental.models.archon.modules.activation import activation_of
from areal.experimental.models.archon.moe.grouped_experts import GroupedExperts


def _experts(hidden: int, inner: int, dtype: torch.dtype = torch.float64, **options: Any) -> GroupedExperts:
    experts = GroupedExperts(ExpertArgs(intermediate_size=inner, **options), 4, hidden).to(dtype)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter.normal_(std=0.5)
    return experts


def _row_by_row(experts: GroupedExperts, rows_RE: Tensor, counts: list[int]) -> Tensor:
    outputs = []
    act = activation_of(experts.args.activation)
    for x, row_E in zip([x for x, count in enumerate(counts) for _ in range(count)], rows_RE, strict=True):
        gate = experts.w1[x] @ row_E + (0 if experts.b1 is None else experts.b1[x])
        up = 1 if experts.w3 is None else experts.w3[x] @ row_E + (0 if experts.b3 is None else experts.b3[x])
        outputs.append(experts.w2[x] @ (act(gate) * up) + (0 if experts.b2 is None else experts.b2[x]))
    return torch.stack(outputs)


@pytest.mark.parametrize(("hidden", "inner"), [(16, 8), (13, 7)], ids=["grouped product", "odd widths"])
@pytest.mark.parametrize(
    "options",
    [{}, {"bias": True}, {"gated": False, "activation": "relu2", "bias": True}],
    ids=["plain", "bias", "ungated"],
)
def test_experts_equal_a_feed_forward_for_each_row(hidden: int, inner: int, options: dict[str, Any]) -> None:
    counts = [3, 0, 5, 2]
    experts = _experts(hidden, inner, **options)
    rows_RE = torch.randn(10, hidden, dtype=torch.float64, requires_grad=True)
    g_RE = torch.randn_like(rows_RE)
    inputs = (rows_RE, *experts.parameters())

    y_RE = experts(rows_RE, torch.tensor(counts))
    grads = torch.autograd.grad(y_RE, inputs, g_RE)

    wanted_RE = _row_by_row(experts, rows_RE, counts)
    torch.testing.assert_close(y_RE, wanted_RE)
    torch.testing.assert_close(grads, torch.autograd.grad(wanted_RE, inputs, g_RE))


@pytest.mark.parametrize(("hidden", "inner"), [(16, 8), (16, 6), (12, 16)])
def test_experts_in_bf16_have_gradients_also_where_one_width_does_not_fit_the_grouped_product(
    hidden: int, inner: int
) -> None:
    exact = _experts(hidden, inner, torch.float32)
    experts = _experts(hidden, inner, torch.bfloat16)
    experts.load_state_dict(exact.state_dict())
    rows_RE, counts = torch.randn(6, hidden), torch.tensor([2, 0, 3, 1])

    experts(rows_RE.bfloat16(), counts).sum().backward()
    exact(rows_RE, counts).sum().backward()

    for name, parameter in experts.named_parameters():  # sums of few products of bf16 numbers: 8 bits each
        wanted = exact.get_parameter(name).grad
        torch.testing.assert_close(parameter.grad.float(), wanted, rtol=0.05, atol=0.05 * float(wanted.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_experts_without_any_row_have_zero_gradients(dtype: torch.dtype) -> None:
    experts = _experts(16, 8, dtype, bias=True)
    rows_RE = torch.zeros(0, 16, dtype=dtype, requires_grad=True)

    y_RE = experts(rows_RE, torch.zeros(4, dtype=torch.int64))
    y_RE.sum().backward()

    assert y_RE.shape == rows_RE.grad.shape == (0, 16)
    assert all(p.grad is not None and not p.grad.any() for p in experts.parameters())


def test_expert_without_rows_among_others_has_zero_gradient_in_bf16() -> None:
    experts = _experts(16, 8, torch.bfloat16)
    experts(torch.randn(6, 16).bfloat16(), torch.tensor([2, 0, 0, 4])).sum().backward()
    for parameter in experts.parameters():
        assert not parameter.grad[1:3].any() and parameter.grad[[0, 3]].any()


def test_experts_cut_along_the_inner_width_sum_to_the_whole() -> None:
    counts = torch.tensor([3, 0, 5, 2])
    whole = _experts(16, 8, bias=True)
    rows_RE = torch.randn(10, 16, dtype=torch.float64)
    parts = []
    for inner in (slice(0, 4), slice(4, 8)):
        part = _experts(16, 8, bias=True)
        part.num_partial_sums = 2
        with torch.no_grad():
            for name in ("w1", "w3", "b1", "b3"):
                part.register_parameter(name, torch.nn.Parameter(part.get_parameter(name)[:, inner].clone()))
            part.w2 = torch.nn.Parameter(part.w2[..., inner].clone())
        parts.append(part(rows_RE, counts))

    torch.testing.assert_close(parts[0] + parts[1], whole(rows_RE, counts))


def test_experts_cut_along_the_experts_read_their_number_off_the_weights() -> None:
    whole = _experts(16, 8)
    rows_RE = torch.randn(10, 16, dtype=torch.float64)
    wanted_RE = whole(rows_RE, torch.tensor([3, 0, 5, 2]))
    half = _experts(16, 8)
    with torch.no_grad():
        for name in ("w1", "w2", "w3"):
            half.register_parameter(name, torch.nn.Parameter(half.get_parameter(name)[2:].clone()))

    torch.testing.assert_close(half(rows_RE[3:], torch.tensor([5, 2])), wanted_RE[3:])


def test_clamped_swiglu_without_clamp_is_refused() -> None:
    with pytest.raises(ValueError, match="expected clamp and gated=True"):
        _experts(16, 8, activation="clamped_swiglu")


def test_experts_on_the_meta_device_give_shapes_forward_and_backward() -> None:
    experts = _experts(16, 8, torch.float32).to("meta")
    rows_RE = torch.empty(10, 16, device="meta", requires_grad=True)

    y_RE = experts(rows_RE, torch.empty(4, device="meta", dtype=torch.int64))
    y_RE.sum().backward()

    assert y_RE.shape == rows_RE.grad.shape == (10, 16)
    assert experts.w2.grad.shape == experts.w2.shape
