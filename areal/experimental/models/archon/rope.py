# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Rotary position embedding (Su et al. 2021, eq. 34), half-split style as in HF checkpoints.

For pair i of a head of width D, the angle at position p is p·f_i with f_i = θ^(-2i/D), rescaled by the `RopeArgs` kind.
Dimensions: N tokens, D head width.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from areal.experimental.models.archon.args import RopeArgs


class Rope(nn.Module):
    """Turns positions into the (cos, signed sin) tables that `rotate` applies; holds no trainable state."""

    signed_freq: Tensor

    def __init__(self, args: RopeArgs, head_dim: int) -> None:
        super().__init__()
        freq = inverse_frequencies(args, head_dim)
        # cos is even and sin is odd: negative frequencies give the signs that `rotate` needs in the first half.
        self.register_buffer("signed_freq", torch.cat((-freq, freq)), persistent=False)

    def forward(self, positions_N: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos and sin `[N, 1, D]` in `dtype` (computed in fp32); the first half of sin is negated for `rotate`."""
        angles = positions_N[:, None, None] * self.signed_freq
        return angles.cos().to(dtype), angles.sin().to(dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Rope:
        """Follow `module.to(...)` to another device but not to another dtype: rounded frequencies ruin far positions."""
        exact = self.signed_freq
        super()._apply(fn, recurse)
        self.signed_freq = exact.to(self.signed_freq.device)
        return self


def rotate(x: Tensor, cos: Tensor, signed_sin: Tensor) -> Tensor:
    """Rotate each pair (i, i + D/2) of the last dimension. Rolling by D/2 swaps the halves, the table has the signs."""
    return (x * cos).addcmul_(x.roll(x.shape[-1] // 2, dims=-1), signed_sin)


def inverse_frequencies(args: RopeArgs, head_dim: int) -> Tensor:
    """f_i for i = 0..D/2-1 by the rule of `args.kind`; fp32, and real on the CPU also while a model is built on meta."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu") / head_dim
    freq = 1.0 / args.theta**exponents
    if args.kind == "default":
        return freq
    if args.kind == "linear":
        return freq / args.factor
    if args.kind == "llama3":
        return _llama3(freq, args)
    raise ValueError(f"expected a rope kind of default, linear or llama3, got {args.kind!r}")


def _llama3(freq: Tensor, args: RopeArgs) -> Tensor:
    """Llama 3.1's rule: keep short wavelengths, divide long ones by `factor`, interpolate in between.

    With r = original_max_positions / wavelength the weight of the unscaled frequency is
    clamp((r - low) / (high - low), 0, 1).
    """
    rotations = args.original_max_positions * freq / (2 * math.pi)
    keep = ((rotations - args.low_freq_factor) / (args.high_freq_factor - args.low_freq_factor)).clamp(0.0, 1.0)
    return (1.0 - keep) * freq / args.factor + keep * freq
