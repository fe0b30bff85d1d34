# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Recognises a dense feed-forward: gate, up and down matrices and the activation between them.

Same-shaped matrices are told apart by what reproduces the traced input of the down projection.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from areal.experimental.models.archon.model_args import Activation, FeedForwardArgs, NormArgs
from areal.experimental.models.archon.modules.activation import XIELU, activation_of
from areal.experimental.models.archon.scaffold.dataflow import (
    TOLERANCE,
    LinearCall,
    is_norm_like,
    linears,
    mismatch,
    rows,
    same,
)
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.hf_model import Call
from areal.experimental.models.archon.scaffold.norms import fit_norm

ACTIVATIONS: tuple[Activation, ...] = ("silu", "gelu", "gelu_tanh", "relu", "relu2")


@dataclass(frozen=True)
class FittedFeedForward:
    """Arguments and tensors (by our names below the module) of a feed-forward."""

    args: FeedForwardArgs
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class _Halves:
    """One reading of the first projection(s): gate and up, with their slices of weights and biases."""

    label: str
    gate: Tensor
    up: Tensor | None
    weights: dict[str, Tensor]


def fit_feed_forward(
    calls: Sequence[Call], where: str, x: Tensor, y: Tensor, known_eps: tuple[float, ...]
) -> FittedFeedForward:
    """The feed-forward that these calls compute from x to y; `Unexplained` when it is none of ours."""
    products = linears(calls)
    first = [p for p in products if same(p.x, rows(x))]
    last = [p for p in products if same(p.y, rows(y))]
    if not first or len(last) != 1 or len(products) != len(first) + 1:
        raise Unexplained(
            where, f"expected 1 or 2 linears on the input and 1 before the output, got {[p.name for p in products]}"
        )
    down = last[0]
    inner_norm, inner, norm_weights = _inner_norm(calls, down, known_eps)
    xielu = next((call.module for call in calls if _is_xielu(call.module)), None)
    activation, halves = _fit_activation(_readings(first, down.x.shape[-1], where), inner, xielu, where)
    weights = {**halves.weights, "w2.weight": down.weight, **norm_weights}
    if down.bias is not None:
        weights["w2.bias"] = down.bias
    if xielu is not None and activation == "xielu":
        weights |= {f"act.{name}": t.detach() for name, t in xielu.state_dict().items()}
    args = FeedForwardArgs(
        intermediate_size=down.x.shape[-1],
        activation=activation,
        gated=halves.up is not None,
        in_bias="w1.bias" in weights,
        out_bias=down.bias is not None,
        inner_norm=inner_norm,
    )
    return FittedFeedForward(args, weights)


def _inner_norm(
    calls: Sequence[Call], down: LinearCall, known_eps: tuple[float, ...]
) -> tuple[NormArgs | None, Tensor, dict[str, Tensor]]:
    """The norm before the down projection, what it reads, and its tensors."""
    for call in calls:
        if same(rows(call.y), down.x) and is_norm_like(call):
            norm = fit_norm(call.module, call.name, down.x.shape[-1], known_eps)
            return norm.args, rows(call.x), {f"inner_norm.{name}": t for name, t in norm.weights.items()}
    return None, down.x, {}


def _readings(first: Sequence[LinearCall], inner_width: int, where: str) -> list[_Halves]:
    """All ways to read the first projection(s) as gate and up."""
    if len(first) == 1 and first[0].width == inner_width:
        return [_Halves("plain", first[0].y, None, _named("w1", first[0].weight, first[0].bias))]
    if len(first) == 1 and first[0].width == 2 * inner_width:
        return _fused_readings(first[0])
    if len(first) == 2 and {p.width for p in first} == {inner_width}:
        return [
            _Halves(
                f"gate {gate.name.rpartition('.')[2]}",
                gate.y,
                up.y,
                {**_named("w1", gate.weight, gate.bias), **_named("w3", up.weight, up.bias)},
            )
            for gate, up in itertools.permutations(first)
        ]
    raise Unexplained(where, f"first projections are {[p.width for p in first]} wide, the last reads {inner_width}")


def _fused_readings(fused: LinearCall) -> list[_Halves]:
    def halves(t: Tensor, dim: int, interleaved: bool) -> tuple[Tensor, Tensor]:
        first, second = (
            t.unflatten(dim, (-1, 2)).unbind(dim + 1 if dim >= 0 else dim) if interleaved else t.chunk(2, dim)
        )
        return first, second

    found = []
    for interleaved, swapped in itertools.product((False, True), repeat=2):
        values, matrices = halves(fused.y, -1, interleaved), halves(fused.weight, 0, interleaved)
        biases = (None, None) if fused.bias is None else halves(fused.bias, 0, interleaved)
        g, u = (1, 0) if swapped else (0, 1)
        weights = {**_named("w1", matrices[g], biases[g]), **_named("w3", matrices[u], biases[u])}
        label = f"fused {'interleaved' if interleaved else 'halves'}, {'up' if swapped else 'gate'} first"
        found.append(_Halves(label, values[g], values[u], weights))
    return found


def _fit_activation(
    readings: Sequence[_Halves], inner: Tensor, xielu: nn.Module | None, where: str
) -> tuple[Activation, _Halves]:
    errors: dict[str, float] = {}
    for halves in readings:
        names: tuple[Activation, ...] = (*ACTIVATIONS, "xielu") if xielu is not None else ACTIVATIONS
        for name in names:
            with torch.no_grad():
                active = _activation(name, xielu)(halves.gate)
            got = active if halves.up is None else active * halves.up
            errors[f"{name}, {halves.label}"] = error = mismatch(got, inner)
            if error < TOLERANCE:
                return name, halves
    raise Unexplained(where, "no activation reproduces the input of the down projection", errors)


def _is_xielu(module: nn.Module) -> bool:
    return {"alpha_p", "alpha_n"} <= module.state_dict().keys()


def _activation(name: Activation, xielu: nn.Module | None) -> nn.Module:
    if name != "xielu":
        return activation_of(name)  # type: ignore[return-value]
    assert xielu is not None
    module = XIELU()
    module.load_state_dict(xielu.state_dict())
    return module


def _named(name: str, weight: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
    named = {f"{name}.weight": weight}
    if bias is not None:
        named[f"{name}.bias"] = bias
    return named
