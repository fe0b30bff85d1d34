# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""One matrix product for several linears of the same input: for the embedded server, where small products are overhead.

The weights become views of one tensor, so that loading into them, in place, updates both. Training keeps them apart: there
they are sharded and optimised one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FusedLinears:
    """The concatenated outputs of linears that read the same input; all or none have a bias. Not a module: owns nothing."""

    def __init__(self, linears: Sequence[nn.Linear]) -> None:
        self.weight = _share_storage([linear.weight for linear in linears])
        biases = [linear.bias for linear in linears if linear.bias is not None]
        if biases and len(biases) != len(linears):
            raise ValueError(f"expected a bias on all of {len(linears)} linears or on none, got {len(biases)}")
        self.bias = _share_storage(biases) if biases else None
        self.sizes = [linear.out_features for linear in linears]

    def __call__(self, x: Tensor) -> Tensor:
        """`[..., sum of the outputs]`."""
        return F.linear(x, self.weight, self.bias)


def _share_storage(parts: Sequence[nn.Parameter]) -> Tensor:
    """One tensor that holds all parts along dim 0; each part becomes a view of its rows."""
    with torch.no_grad():
        whole = torch.cat([part.data for part in parts])
        for part, rows in zip(parts, whole.split([part.shape[0] for part in parts]), strict=True):
            part.data = rows
    return whole
