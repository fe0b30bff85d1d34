# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Normalisations over the last dimension, in all the variants of `NormArgs`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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
        has_one_weight = self.weight is None or self.weight.ndim == 1
        if self.args.kind == "layer" and has_one_weight and (self.weight is None or self.weight.dtype == x.dtype):
            # Rounds once, behind weight and bias, as every family's LayerNorm does.
            return F.layer_norm(x, (self.width,), self._full_weight(), self.bias, self.args.eps)
        if x.dtype == torch.float32 and self.args.kind == "rms" and self.bias is None:
            weight = self._full_weight()
            if x.is_cpu and not torch.is_grad_enabled():
                return self._rms_on_cpu(x, weight)
            if x.is_cpu and weight is not None and has_one_weight and not torch.compiler.is_compiling():
                return RMSNormOnCPU.apply(x, weight, self.args.eps)
            if has_one_weight:
                return F.rms_norm(x, (self.width,), weight, self.args.eps)
        return self._general(x)

    def _full_weight(self) -> Tensor | None:
        return self.weight + self.args.offset if self.weight is not None and self.args.offset else self.weight

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

    def _rms_on_cpu(self, x: Tensor, weight: Tensor | None) -> Tensor:
        """Five small kernels instead of torch's nine: decoding one token a row is bound by their number."""
        y = x * _reciprocal_rms(x, self.args.eps)
        return y if weight is None else y.mul_(weight)


def _reciprocal_rms(x: Tensor, eps: float) -> Tensor:
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().mul_(1.0 / x.shape[-1]).add_(eps).rsqrt_()


class RMSNormOnCPU(torch.autograd.Function):
    """RMSNorm through torch's LayerNorm kernel for gradients, 10 times as fast as its composite RMSNorm (8192 x 256).

    With mean 0 and r = 1/rms that kernel returns r·(gw - mean(gw) - x̂·mean(gw·x̂)); RMSNorm has no mean(gw).
    """

    BLOCK = 1 << 18
    """Elements: small temporaries stay in the cache, and sums over blocks round less than one over all rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """`x` `[..., W]` normalised, times `weight` `[W]`."""
        r = _reciprocal_rms(x, eps)
        ctx.save_for_backward(x, weight, r)
        return (x * r).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients of `x` and `weight`."""
        x, weight, r = ctx.saved_tensors
        width = x.shape[-1]
        dx, dweight = torch.empty(x.shape), torch.zeros_like(weight)
        num_rows = max(RMSNormOnCPU.BLOCK // width, 1)
        blocks = (t.reshape(-1, t.shape[-1]).split(num_rows) for t in (grad, x, r, dx))
        for g, x_rows, r_rows, out in zip(*blocks, strict=True):
            rows = (g.contiguous(), x_rows, (width,), torch.zeros_like(r_rows), r_rows)
            d_rows, dw, _ = torch.ops.aten.native_layer_norm_backward(*rows, weight, None, (True, True, False))
            torch.add(d_rows, (g @ weight).unsqueeze(-1).mul_(r_rows), alpha=1.0 / width, out=out)
            dweight += dw
        return dx, dweight, None
