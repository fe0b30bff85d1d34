# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Normalisations over the last dimension, in all the variants of `NormArgs`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from areal.experimental.models.archon.model_args import NormArgs


class Norm(nn.Module):
    """RMSNorm (Zhang & Sennrich 2019), LayerNorm (Ba et al. 2016) or L2 norm; statistics in fp32.

    y = n(x) · (w + offset) + b, where a missing weight is 1 and a missing bias 0. Same shape and dtype as the input.
    `shape` is the shape of the weight: the normalised width, or `(heads, width)` for one weight a head.
    """

    def __init__(self, args: NormArgs, *shape: int) -> None:
        super().__init__()
        self.args = args
        self.width = shape[-1]
        self.weight = nn.Parameter(torch.empty(shape)) if args.has_weight else None
        self.bias = nn.Parameter(torch.empty(shape)) if args.has_bias else None

    def init_weights(self) -> None:
        """Make the norm start as a plain normalisation."""
        if self.weight is not None:
            nn.init.constant_(self.weight, 1.0 - self.args.offset)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension of `x`."""
        if x.dtype == torch.float32 and self.args.kind == "rms" and self._is_plain:
            if x.is_cpu and not torch.is_grad_enabled():
                return self._rms_on_cpu(x)
            if self.weight is None or self.weight.ndim == 1:
                return F.rms_norm(x, (self.width,), self.weight, self.args.eps)
        return self._general(x)

    @property
    def _is_plain(self) -> bool:
        return self.args.offset == 0.0 and self.bias is None

    def _general(self, x: Tensor) -> Tensor:
        normal = self._normalise(x.float())
        if not self.args.weight_in_fp32:
            normal = normal.to(x.dtype)
        if self.weight is not None:
            weight = self.weight.float() if self.args.weight_in_fp32 else self.weight
            normal = normal * (weight + self.args.offset if self.args.offset else weight)
        if self.bias is not None:
            normal = normal + self.bias
        return normal.to(x.dtype)

    def _normalise(self, x: Tensor) -> Tensor:
        if self.args.kind == "rms":
            return F.rms_norm(x, (self.width,), None, self.args.eps)
        if self.args.kind == "layer":
            return F.layer_norm(x, (self.width,), eps=self.args.eps)
        return x * (x.square().sum(-1, keepdim=True) + self.args.eps).rsqrt()

    def _rms_on_cpu(self, x: Tensor) -> Tensor:
        """Five small kernels instead of torch's nine: decoding one token a row is bound by their number."""
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        mean_square = norm.square_().mul_(1.0 / self.width)
        y = x * mean_square.add_(self.args.eps).rsqrt_()
        return y if self.weight is None else y * self.weight
