# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""ALiBi (Press et al. 2022, section 3) as more channels of queries and keys, so that every attention back-end computes it.

A bias -m (i - j) of query i and key j differs from m·j by what all keys of a query share, and softmax does not see that. With j
= 256² a + 256 b + c, digits below 256 in sequences of up to 16.7 M tokens, the product of [256 m/s, 256 m/s, m/s] and [256 a, b,
c] times the scale s is m·j; 256 a, b and c are exact in 16-bit floats too, and below the largest one of fp16. Called by
`Attention`. Dimensions: N tokens, H query heads, K key heads, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from areal.experimental.models.archon.model_args import ALIBI_WIDTH, AlibiArgs

_STEP = 256
"""Largest number up to which bfloat16 holds every integer."""


def slopes_of(args: AlibiArgs, num_heads: int) -> Tensor:
    """`[H]` in fp32, on the CPU also where models are made on the meta device."""
    exponents = torch.tensor(exponents_of(num_heads), dtype=torch.float64, device="cpu")
    return (args.factor * torch.exp2(-args.max_bias * exponents)).float()


def exponents_of(num_heads: int) -> list[float]:
    """The e_h of slopes 2^(-max_bias · e_h)."""
    whole = 2 ** math.ceil(math.log2(num_heads))
    every = [(h + 1) / whole for h in range(whole)]
    return every if whole == num_heads else [*every[1::2], *every[::2]][:num_heads]


def with_biases(
    q_NHD: Tensor, k_NKD: Tensor, slopes_H: Tensor, positions_N: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Queries and keys, `ALIBI_WIDTH` channels wider, whose scaled products hold the biases."""
    slopes = (slopes_H / scale).to(q_NHD.dtype)
    ours = torch.stack((slopes * _STEP, slopes * _STEP, slopes), dim=-1).expand(q_NHD.shape[0], -1, -1)
    highest, rest = positions_N // _STEP**2 * _STEP, positions_N % _STEP**2
    places = torch.stack((highest, rest // _STEP, rest % _STEP), dim=-1).to(k_NKD.dtype)
    theirs = places.unsqueeze(1).expand(-1, k_NKD.shape[1], -1)
    assert ours.shape[-1] == ALIBI_WIDTH
    return torch.cat((q_NHD, ours), dim=-1), torch.cat((k_NKD, theirs), dim=-1)
