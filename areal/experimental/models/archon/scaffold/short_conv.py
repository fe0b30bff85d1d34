# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Recognises a gated short convolution: which rows of its projections are b, c and v follows from what the output one reads.

The convolution may be called as a function, so that it is computed for each reading. Of b and v, whose product is convolved,
HF's first rows count as b. Dimensions: T tokens, C channels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from areal.experimental.models.archon.kernels.conv import causal_conv
from areal.experimental.models.archon.model_args import ShortConvArgs
from areal.experimental.models.archon.scaffold.dataflow import TOLERANCE, LinearCall, linears, mismatch, same
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.hf_model import Call


@dataclass(frozen=True)
class FittedShortConv:
    """Arguments and tensors (by our names below the mixer) of a short convolution."""

    args: ShortConvArgs
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class _Part:
    """Some rows of a projection: their values `[T, C]`, weight and bias."""

    y: Tensor
    weight: Tensor
    bias: Tensor | None


def is_short_conv(module: nn.Module) -> bool:
    """Whether a module holds one depthwise convolution between linears, and nothing else."""
    own = [*module.parameters(recurse=False), *module.buffers()]
    kinds = [type(child) for child in module.modules() if next(child.parameters(recurse=False), None) is not None]
    return not own and kinds.count(nn.Conv1d) == 1 and set(kinds) == {nn.Conv1d, nn.Linear}


def fit_short_conv(where: str, calls: Sequence[Call], x: Tensor, y: Tensor, module: nn.Module) -> FittedShortConv:
    """The gated short convolution that a mixer computes from x to y; `Unexplained` when it is another."""
    products = linears(calls)
    inputs = [p for p in products if same(p.x, x)]
    outputs = [p for p in products if same(p.y, y)]
    conv = next(child for child in module.modules() if isinstance(child, nn.Conv1d))
    channels = conv.weight.shape[0]
    if len(outputs) != 1 or len(inputs) + 1 != len(products) or sum(p.width for p in inputs) != 3 * channels:
        names = [f"{p.name} ({p.width})" for p in products]
        raise Unexplained(
            where,
            f"expected projections to three times {channels} channels and one behind the convolution, got {names}",
        )
    kernel = conv.weight.detach().squeeze(1)
    bias = torch.zeros(channels) if conv.bias is None else conv.bias.detach()
    errors: dict[str, float] = {}
    for label, (b, c, v) in _readings(inputs, channels):
        with torch.no_grad():
            got = c.y * (causal_conv(b.y * v.y, kernel, (len(x),)) + bias)
        errors[label] = error = mismatch(got, outputs[0].x)
        if error < TOLERANCE:
            return FittedShortConv(*_described(where, b, c, v, outputs[0], conv))
    raise Unexplained(where, "is not c · conv(b · v) of three projections (a gated short convolution)", errors)


def _described(
    where: str, b: _Part, c: _Part, v: _Part, out: LinearCall, conv: nn.Conv1d
) -> tuple[ShortConvArgs, dict[str, Tensor]]:
    named = {"in_proj_b": b, "in_proj_c": c, "in_proj_v": v, "out_proj": out}
    biases = {f"{name}.bias": part.bias for name, part in named.items() if part.bias is not None}
    if conv.bias is not None:
        biases["conv_bias"] = conv.bias.detach()
    if biases and len(biases) != len(named) + 1:
        raise Unexplained(where, f"expected biases everywhere or nowhere in a short convolution, got {sorted(biases)}")
    weights = {f"{name}.weight": part.weight for name, part in named.items()} | biases
    weights["conv1d.weight"] = conv.weight.detach().squeeze(1)
    channels, _, kernel = conv.weight.shape
    return ShortConvArgs(conv_channels=channels, conv_kernel=kernel, bias=bool(biases)), weights


def _readings(inputs: Sequence[LinearCall], channels: int) -> Iterator[tuple[str, tuple[_Part, _Part, _Part]]]:
    """All ways to read blocks of C rows as b, c and v, b before v."""
    parts = [
        _Part(
            p.y[:, at : at + channels],
            p.weight[at : at + channels],
            None if p.bias is None else p.bias[at : at + channels],
        )
        for p in inputs
        for at in range(0, p.width, channels)
    ]
    for order in itertools.permutations(range(3)):
        if len(parts) == 3 and order[0] < order[2]:
            b, c, v = (parts[n] for n in order)
            yield f"b, c, v = blocks {order}", (b, c, v)
