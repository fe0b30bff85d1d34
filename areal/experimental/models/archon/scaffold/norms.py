# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Recognises a normalisation by feeding it: kind, weight offset, epsilon and rounding follow from its outputs.

Every module that leaves the shape of its input alone is asked; names do not matter.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from areal.experimental.models.archon.model_args import NormArgs
from areal.experimental.models.archon.modules.norm import Norm
from areal.experimental.models.archon.scaffold.findings import Unexplained

TOLERANCE = 2e-5
_ROUND_EPS = (0.0, 1e-12, 1e-8, 1.1920928955078125e-07, 1e-7, 1e-6, 1e-5, 1e-3)


@dataclass(frozen=True)
class FittedNorm:
    """Arguments and tensors of a norm."""

    args: NormArgs
    weights: dict[str, Tensor]


def fit_norm(module: nn.Module, where: str, width: int, known_eps: tuple[float, ...]) -> FittedNorm:
    """The norm a module computes over its last dimension `width`; `Unexplained` when it is none of ours."""
    weight, bias = _parameters(module, where)
    errors: dict[str, float] = {}
    for kind, offset in itertools.product(("rms", "layer", "l2"), (0.0, 1.0)):
        if weight is None and offset:
            continue
        args = NormArgs(kind=kind, offset=offset, has_weight=weight is not None, has_bias=bias is not None)
        args = replace(args, eps=_measure_eps(module, args, weight, bias, width, known_eps))
        errors[f"{kind}, offset {offset}, eps {args.eps:g}"] = error = _mismatch(module, args, weight, bias, width)
        if error < TOLERANCE:
            args = replace(args, weight_in_fp32=_rounds_late(module, args, weight, bias, width))
            return FittedNorm(args, _named(weight, bias))
    raise Unexplained(where, "is not a normalisation of a known kind", errors)


def ours(args: NormArgs, weight: Tensor | None, bias: Tensor | None, width: int) -> Norm:
    """Our module with these tensors."""
    norm = Norm(args, *(weight.shape if weight is not None else (width,)))
    for parameter, value in ((norm.weight, weight), (norm.bias, bias)):
        if parameter is not None and value is not None:
            parameter.data = value
    return norm


def _parameters(module: nn.Module, where: str) -> tuple[Tensor | None, Tensor | None]:
    """Weight and bias: a bias carries its name, the only other tensor is the weight."""
    tensors = {name: p.detach() for name, p in module.named_parameters()}
    bias = next((t for name, t in tensors.items() if "bias" in name), None)
    rest = [t for name, t in tensors.items() if "bias" not in name]
    if len(rest) > 1:
        raise Unexplained(where, f"has {len(tensors)} parameters, a normalisation has at most a weight and a bias")
    return (rest[0] if rest else None), bias


def _named(weight: Tensor | None, bias: Tensor | None) -> dict[str, Tensor]:
    return {name: t for name, t in (("weight", weight), ("bias", bias)) if t is not None}


def _inputs(weight: Tensor | None, width: int, size: float) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    rows = (1, 5, *weight.shape) if weight is not None and weight.ndim == 2 else (1, 5, width)
    return (torch.randn(rows, generator=generator) + 0.5) * size


def _measure_eps(
    module: nn.Module,
    args: NormArgs,
    weight: Tensor | None,
    bias: Tensor | None,
    width: int,
    known_eps: tuple[float, ...],
) -> float:
    """Epsilon under the hypothesis `args`, from inputs so small that it matters; the nearest known value."""
    eps = 0.0
    for size in (1e-1, 1e-3, 1e-6):
        x = _inputs(weight, width, size)
        with torch.no_grad():
            normal = module(x).double()
        x = x.double()
        if bias is not None:
            normal = normal - bias
        if weight is not None:
            normal = normal / (weight + args.offset)
        if args.kind == "layer":
            x = x - x.mean(-1, keepdim=True)
        power = x.square().sum(-1) if args.kind == "l2" else x.square().mean(-1)
        ratio = (x * normal).sum(-1) / normal.square().sum(-1)
        eps = float((ratio.square() - power).median())
        if abs(eps) > 1e-2 * float(power.mean()):
            break
    return _nearest(max(eps, 0.0), (*known_eps, *_ROUND_EPS))


def _nearest(eps: float, candidates: tuple[float, ...]) -> float:
    best = min(candidates, key=lambda value: abs(value - eps))
    return best if abs(best - eps) <= 2e-2 * max(best, 1e-13) else eps


def _mismatch(module: nn.Module, args: NormArgs, weight: Tensor | None, bias: Tensor | None, width: int) -> float:
    norm = ours(args, weight, bias, width)
    worst = 0.0
    for size in (1.0, 1e-3):
        x = _inputs(weight, width, size)
        with torch.no_grad():
            expected, got = module(x), norm(x)
        if expected.shape != x.shape:
            return float("inf")
        worst = max(worst, float((got - expected).abs().max() / expected.abs().max().clamp(min=1e-30)))
    return worst if worst == worst else float("inf")


def _rounds_late(module: nn.Module, args: NormArgs, weight: Tensor | None, bias: Tensor | None, width: int) -> bool:
    """Whether the weight multiplies before rounding to bf16; what reproduces more of the module's bf16 outputs."""
    half = copy.deepcopy(module).to(torch.bfloat16)
    low = [None if t is None else t.bfloat16() for t in (weight, bias)]
    x = _inputs(weight, width, 1.0).bfloat16()
    matches = {}
    with torch.no_grad():
        expected = half(x)
        for late in (False, True):
            got = ours(replace(args, weight_in_fp32=late), low[0], low[1], width)(x)
            matches[late] = int((got == expected).sum())
    return matches[True] > matches[False]
