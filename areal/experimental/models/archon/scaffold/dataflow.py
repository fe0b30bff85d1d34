# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Which value flows where: equality of tensors up to rounding and shape, ratios, and the linears of a traced module."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.hf_model import Call

TOLERANCE = 2e-5


@dataclass(frozen=True)
class LinearCall:
    """A traced product y = W x + b, on rows `[T, width]`."""

    name: str
    x: Tensor
    y: Tensor
    weight: Tensor
    bias: Tensor | None

    @property
    def width(self) -> int:
        """Output width."""
        return self.y.shape[-1]


def rows(x: Tensor) -> Tensor:
    """`[rows, width]`."""
    return x.detach().reshape(x.shape[:-1].numel(), x.shape[-1])


def mismatch(got: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the largest expected value; infinite for other sizes."""
    if got.numel() != expected.numel():
        return float("inf")
    if not got.numel():
        return 0.0
    got, expected = got.detach().double().flatten(), expected.detach().double().flatten()
    error = float((got - expected).abs().max() / expected.abs().max().clamp(min=1e-30))
    return error if error == error else float("inf")


def same(got: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> bool:
    """Whether two tensors hold the same values in the same order."""
    return mismatch(got, expected) < tolerance


def ratio(y: Tensor, x: Tensor) -> float:
    """The c that is best in y = c·x."""
    y, x = y.detach().double().flatten(), x.detach().double().flatten()
    return float((x @ y) / (x @ x).clamp(min=1e-300))


def snapped_to_one(factor: float) -> float:
    """A measured factor, 1.0 where it differs from it by rounding only."""
    return 1.0 if abs(factor - 1.0) < 1e-5 else factor


def is_multiple(y: Tensor, x: Tensor, tolerance: float = TOLERANCE) -> bool:
    """Whether y = c·x."""
    return y.numel() == x.numel() and same(x.double() * ratio(y, x), y, tolerance)


def linears(calls: Iterable[Call]) -> list[LinearCall]:
    """The linear products among some calls; `Unexplained` for one that is more than a product."""
    found = []
    for call in calls:
        if not isinstance(call.module, nn.Linear | Conv1D):
            continue
        weight, bias = call.module.weight.detach(), call.module.bias
        weight = weight.T if isinstance(call.module, Conv1D) else weight
        bias = None if bias is None else bias.detach()
        linear = LinearCall(call.name, rows(call.x), rows(call.y), weight, bias)
        if not same(torch.nn.functional.linear(linear.x, weight, bias), linear.y):
            raise Unexplained(call.name, f"{type(call.module).__name__} is not a plain linear product")
        found.append(linear)
    return found


def is_norm_like(call: Call) -> bool:
    """Whether a call may be a normalisation: no matrices, shape kept, and (nearly) blind to the scale of its input."""
    if call.x.shape != call.y.shape or any(p.ndim > 2 for p in call.module.parameters()):
        return False
    if isinstance(call.module, nn.Dropout | nn.Identity):
        return False
    # A feed-forward that normalises inside is blind to scale too.
    if any(isinstance(module, nn.Linear | nn.Embedding | Conv1D) for module in call.module.modules()):
        return False
    if len(call.args) + len(call.kwargs) != 1:
        return False
    with torch.no_grad():
        once, twice = call.module(call.x * 64.0), call.module(call.x * 128.0)
    return isinstance(once, Tensor) and same(twice, once, 1e-3)
