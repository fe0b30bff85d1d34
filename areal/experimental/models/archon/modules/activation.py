# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Activation functions by the names of `model_args.Activation`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def activation_of(name: str) -> Callable[[Tensor], Tensor]:
    """The elementwise function of a name, or a module with trainable parameters (xielu)."""
    if name == "xielu":
        return XIELU()
    if name not in _FUNCTIONS:
        raise ValueError(f"expected an activation of {', '.join([*_FUNCTIONS, 'xielu'])}, got {name!r}")
    return _FUNCTIONS[name]


def clamped_swiglu(gate: Tensor, up: Tensor, clamp: float, alpha: float) -> Tensor:
    """(u + 1) · g · σ(alpha · g) with g clamped above and u on both sides (gpt_oss)."""
    gate = gate.clamp(max=clamp)
    return (up.clamp(-clamp, clamp) + 1) * gate * torch.sigmoid(alpha * gate)


class XIELU(nn.Module):
    """Trainable activation of Apertus (Huang & Schlag 2024): α_p x² + βx for x > 0, else α_n (expm1(min(x, ε)) - x) + βx.

    α_p = softplus(alpha_p), α_n = β + softplus(alpha_n).
    """

    beta: Tensor
    eps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.alpha_p = nn.Parameter(torch.empty(1))
        self.alpha_n = nn.Parameter(torch.empty(1))
        self.register_buffer("beta", torch.tensor(0.5))
        self.register_buffer("eps", torch.tensor(-1e-6))

    def init_weights(self) -> None:
        """Start at α_p = α_n = 0.8 as the paper does."""
        with torch.no_grad():
            self.alpha_p.copy_(torch.expm1(torch.tensor([0.8])).log())
            self.alpha_n.copy_(torch.expm1(torch.tensor([0.8 - 0.5])).log())

    def forward(self, x: Tensor) -> Tensor:
        """Same shape and dtype as `x`."""
        alpha_p = F.softplus(self.alpha_p)
        alpha_n = self.beta + F.softplus(self.alpha_n)
        positive = alpha_p * x * x + self.beta * x
        negative = (torch.expm1(torch.min(x, self.eps)) - x) * alpha_n + self.beta * x
        return torch.where(x > 0, positive, negative)


def _relu2(x: Tensor) -> Tensor:
    return F.relu(x).square()


_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "relu2": _relu2,
}
