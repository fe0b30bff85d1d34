# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Rotary position embedding (Su et al. 2021, eq. 34), half-split style as in HF checkpoints.

For pair i of a head of width D, the angle at position p is p·f_i with f_i = θ^(-2i/D), rescaled by the `RopeArgs` kind.
Dimensions in the suffixes: B rows, S tokens, D head width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from areal.experimental.models.archon.args import RopeArgs


class Rope(nn.Module):
    """Turns positions into the (cos, signed sin) tables that `rotate` applies; holds no trainable state."""

    def __init__(self, args: RopeArgs, head_dim: int) -> None:
        super().__init__()
        # An explicit device keeps the frequencies real when the model is built on the meta device.
        self.register_buffer("inv_freq", inverse_frequencies(args, head_dim), persistent=False)

    def forward(self, positions_BS: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos and sin `[B, S, 1, D]` in `dtype` (computed in fp32); the first half of sin is negated for `rotate`."""
        angles = positions_BS[..., None, None].float() * self.inv_freq
        cos, sin = angles.cos(), angles.sin()
        return torch.cat((cos, cos), dim=-1).to(dtype), torch.cat((-sin, sin), dim=-1).to(dtype)


def rotate(x: Tensor, cos: Tensor, signed_sin: Tensor) -> Tensor:
    """Rotate each pair (i, i + D/2) of the last dimension. Rolling by D/2 swaps the halves, the table has the signs."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), signed_sin)


def inverse_frequencies(args: RopeArgs, head_dim: int) -> Tensor:
    """f_i for i = 0..D/2-1, fp32 on the CPU, by the rule of `args.kind`."""
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
