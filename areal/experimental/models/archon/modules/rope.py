# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Rotary position embedding (Su et al. 2021, eq. 34): tables of cos and sin, and their application to heads.

For pair i of a head that rotates in R dimensions, the angle at position p is p·f_i with f_i = θ^(-2i/R), rescaled by the
kind of `RopeArgs` (`rope_frequencies`). Pairs are (i, i + R/2) in half style and (2i, 2i + 1) in interleaved style.
Dimensions: N tokens, R rotating width, D head width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from areal.experimental.models.archon.model_args import RopeArgs
from areal.experimental.models.archon.modules.exact import ExactBuffers
from areal.experimental.models.archon.modules.rope_frequencies import LENGTH_DEPENDENT, attention_factor, frequencies


class Rope(ExactBuffers):
    """Turns positions into the (cos, signed sin) tables that `rotate` applies; holds no trainable state.

    Tables of some kinds depend on the length of the sequence; the choice is made for each sequence by its own length, so
    that it does not depend on what else is in the batch.
    """

    signed_freq: Tensor

    def __init__(self, args: RopeArgs) -> None:
        super().__init__()
        self.args = args
        self.register_buffer("signed_freq", self._signed(frequencies(args)), persistent=False)
        self.depends_on_length = args.kind in LENGTH_DEPENDENT

    def forward(
        self, positions_N: Tensor, dtype: torch.dtype, lengths_N: Callable[[], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """cos and sin `[N, 1, R]` in `dtype` (computed in fp32); sin has the sign of its place in the pair.

        `lengths_N` gives the length of each token's sequence; it is asked only where the table depends on it.
        """
        freq: Tensor = self.signed_freq
        factor = attention_factor(self.args)
        if self.depends_on_length:
            freq = self._freq_by_length(lengths_N())
        angles = positions_N[:, None, None] * freq
        cos, sin = angles.cos(), angles.sin()
        if factor != 1.0:
            cos, sin = cos * factor, sin * factor
        return cos.to(dtype), sin.to(dtype)

    def _freq_by_length(self, lengths_N: Tensor) -> Tensor:
        """Signed frequencies of each token, `[N, 1, R]`."""
        distinct, index_N = torch.unique(lengths_N, return_inverse=True)
        rows = [self._signed(frequencies(self.args, int(length))) for length in distinct.tolist()]
        device = self.signed_freq.device
        return torch.stack(rows).to(device)[index_N.to(device)][:, None]

    def _signed(self, freq: Tensor) -> Tensor:
        """cos is even and sin is odd: negative frequencies give the signs that `rotate` needs."""
        freq = -freq if self.args.is_reversed else freq
        if self.args.style == "half":
            return torch.cat((-freq, freq))
        return torch.stack((-freq, freq), dim=-1).flatten()


def rotate(x: Tensor, cos: Tensor, signed_sin: Tensor, style: str) -> Tensor:
    """Rotate the first R dimensions of heads `[N, H, D]` by tables `[N, 1, R]`; the others stay."""
    width = cos.shape[-1]
    if width == x.shape[-1]:
        return _rotate_all(x, cos, signed_sin, style)
    turning, still = x.split((width, x.shape[-1] - width), dim=-1)
    return torch.cat((_rotate_all(turning, cos, signed_sin, style), still), dim=-1)


def _rotate_all(x: Tensor, cos: Tensor, signed_sin: Tensor, style: str) -> Tensor:
    if style == "half":
        partner = x.roll(x.shape[-1] // 2, dims=-1)  # rolling by half swaps the halves
    else:
        partner = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.addcmul(x * cos, partner, signed_sin)
