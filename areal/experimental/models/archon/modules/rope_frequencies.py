# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Rotary frequencies of every `rope_type` of transformers, as functions of `RopeArgs` alone.

All return fp32 on the CPU, also while a model is built on the meta device.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from areal.experimental.models.archon.model_args import RopeArgs

LENGTH_DEPENDENT = ("dynamic", "longrope")
"""Kinds whose frequencies depend on the length of the sequence."""


def frequencies(args: RopeArgs, length: int = 0) -> Tensor:
    """f_i `[R/2]` of a sequence of `length` tokens; only dynamic and longrope tables depend on it."""
    return _KINDS[args.kind](args, length)


def attention_factor(args: RopeArgs) -> float:
    """Factor of cos and sin: the configured one, or the rule of yarn (Peng et al. 2023, eq. 22) and longrope."""
    if args.attention_factor is not None:
        return args.attention_factor
    if args.kind == "yarn":
        if args.mscale and args.mscale_all_dim:
            return yarn_mscale(args.factor, args.mscale) / yarn_mscale(args.factor, args.mscale_all_dim)
        return yarn_mscale(args.factor, 1.0)
    if args.kind == "longrope":
        if args.factor <= 1.0:
            return 1.0
        return math.sqrt(1 + math.log(args.factor) / math.log(args.original_max_positions))
    return 1.0


def yarn_mscale(factor: float, mscale: float) -> float:
    """Growth of attention with the length, for a scaling factor (Peng et al. 2023, eq. 22, with a coefficient)."""
    return 1.0 if factor <= 1.0 else 0.1 * mscale * math.log(factor) + 1.0


def _exponents(args: RopeArgs) -> Tensor:
    return torch.arange(0, args.rotary_dim, 2, dtype=torch.float32, device="cpu") / args.rotary_dim


def _default(args: RopeArgs, length: int) -> Tensor:
    return 1.0 / args.theta ** _exponents(args)


def _linear(args: RopeArgs, length: int) -> Tensor:
    return _default(args, length) / args.factor


def _dynamic(args: RopeArgs, length: int) -> Tensor:
    """NTK-aware scaling by the length: θ grows once a sequence is longer than the trained length."""
    length = max(length, args.max_positions)
    dim = args.rotary_dim
    growth = args.factor * length / args.max_positions - (args.factor - 1)
    theta = args.theta * growth ** (dim / (dim - 2))
    return 1.0 / theta ** _exponents(args)


def _ntk_alpha(args: RopeArgs, length: int) -> Tensor:
    """NTK-aware scaling by a fixed factor."""
    dim = args.rotary_dim
    return 1.0 / (args.theta * args.factor ** (dim / (dim - 2))) ** _exponents(args)


def _yarn(args: RopeArgs, length: int) -> Tensor:
    """Interpolate slow dimensions, keep fast ones, blend in between (Peng et al. 2023, eq. 17 and 18)."""

    def dimension_of(rotations: float) -> float:
        """The dimension that turns so often within the original length."""
        periods = args.original_max_positions / (rotations * 2 * math.pi)
        return args.rotary_dim * math.log(periods) / (2 * math.log(args.theta))

    low, high = dimension_of(args.beta_fast), dimension_of(args.beta_slow)
    if args.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, args.rotary_dim - 1)
    if low == high:
        high += 0.001  # a blend of width zero has no slope
    keep = 1.0 - ((torch.arange(args.rotary_dim // 2, dtype=torch.float32, device="cpu") - low) / (high - low)).clamp(
        0, 1
    )
    freq = _default(args, length)
    return freq / args.factor * (1.0 - keep) + freq * keep


def _longrope(args: RopeArgs, length: int) -> Tensor:
    """A factor for each dimension, one list for short and one for long sequences (Ding et al. 2024)."""
    factors = args.long_factor if length > args.original_max_positions else args.short_factor
    return 1.0 / (torch.tensor(factors, dtype=torch.float32, device="cpu") * args.theta ** _exponents(args))


def _llama3(args: RopeArgs, length: int) -> Tensor:
    """Llama 3.1's rule: keep short wavelengths, divide long ones by `factor`, interpolate in between.

    With r = original_max_positions / wavelength the weight of the unscaled frequency is
    clamp((r - low) / (high - low), 0, 1).
    """
    freq = _default(args, length)
    rotations = args.original_max_positions * freq / (2 * math.pi)
    keep = ((rotations - args.low_freq_factor) / (args.high_freq_factor - args.low_freq_factor)).clamp(0.0, 1.0)
    return (1.0 - keep) * freq / args.factor + keep * freq


def _proportional(args: RopeArgs, length: int) -> Tensor:
    """Frequencies of the whole head, of which only the first pairs turn; the others stand still (gemma4)."""
    head_dim = args.head_dim or args.rotary_dim
    exponents = torch.arange(0, args.rotary_dim, 2, dtype=torch.float32, device="cpu") / head_dim
    turning = 1.0 / args.theta**exponents / args.factor
    still = torch.zeros((head_dim - args.rotary_dim) // 2, dtype=torch.float32, device="cpu")
    return torch.cat((turning, still))


_KINDS: dict[str, Callable[[RopeArgs, int], Tensor]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "ntk_alpha": _ntk_alpha,
    "yarn": _yarn,
    "longrope": _longrope,
    "llama3": _llama3,
    "proportional": _proportional,
}
