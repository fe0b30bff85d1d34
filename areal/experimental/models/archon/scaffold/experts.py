# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Recognises stacked experts from one traced call: orientation, order of gate and up, activation, biases.

Dimensions: T tokens, E hidden width, X experts, K choices, I inner width.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from areal.experimental.models.archon.model_args import ExpertArgs
from areal.experimental.models.archon.modules.activation import activation_of, clamped_swiglu
from areal.experimental.models.archon.scaffold.dataflow import TOLERANCE, mismatch, rows, same
from areal.experimental.models.archon.scaffold.feed_forward import ACTIVATIONS
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.hf_model import Call

NUM_PROBED = 32
"""Tokens that readings are compared on; what an expert computes does not depend on the others."""


@dataclass(frozen=True)
class FittedExperts:
    """Arguments, tensors (`w1`, `b1`, ...) and the routing that HF fed to the experts: dense weights `[T, X]`.

    weight_on_input: the weights multiply the inputs of the experts, which all run on all tokens (llama4).
    """

    args: ExpertArgs
    weights: dict[str, Tensor]
    routing_TX: Tensor
    top_k: int
    output: Tensor
    weight_on_input: bool = False


@dataclass(frozen=True)
class _Reading:
    label: str
    w: dict[str, Tensor]


def fit_experts(call: Call, x: Tensor) -> FittedExperts:
    """The experts that a call computes for tokens `x`; `Unexplained` when they are none of ours."""
    matrices = {name: p.detach() for name, p in call.module.named_parameters() if p.ndim == 3}
    vectors = {name: p.detach() for name, p in call.module.named_parameters() if p.ndim == 2}
    num_experts = next(iter(matrices.values())).shape[0]
    if rows(call.x).shape[0] == num_experts * x.shape[0]:
        return _fit_dense(call, x, matrices)
    if not same(rows(call.x), x):
        raise Unexplained(call.name, "the experts read something else than the input of the layer")
    x, routing_TX, top_k = _routing(call, num_experts)
    errors: dict[str, float] = {}
    for reading in _readings(list(matrices.values()), list(vectors.values()), x.shape[-1]):
        for args in _activations(call.module, reading):
            got = _compute(x[:NUM_PROBED], routing_TX[:NUM_PROBED], reading, args)
            label = f"{args.activation}{'' if args.clamp is None else f' {args.clamp} {args.alpha}'}, {reading.label}"
            errors[label] = error = mismatch(got, rows(call.y)[:NUM_PROBED])
            if error < TOLERANCE:
                return FittedExperts(args, reading.w, routing_TX, top_k, rows(call.y))
    shapes = {name: tuple(p.shape) for name, p in (matrices | vectors).items()}
    raise Unexplained(call.name, f"no reading of the experts' tensors {shapes} reproduces their output", errors)


def _fit_dense(call: Call, x: Tensor, matrices: dict[str, Tensor]) -> FittedExperts:
    """Experts that each get every token, times its routing weight."""
    num_experts = next(iter(matrices.values())).shape[0]
    inputs_XTE = rows(call.x).unflatten(0, (num_experts, -1))
    outputs_XTE = rows(call.y).unflatten(0, (num_experts, -1))
    routing_TX = ((inputs_XTE * x).sum(-1) / x.square().sum(-1)).T
    if not same(routing_TX.T[..., None] * x, inputs_XTE):
        raise Unexplained(call.name, "the experts read something else than multiples of the layer's input")
    errors: dict[str, float] = {}
    for reading in _readings(list(matrices.values()), [], x.shape[-1]):
        for args in _activations(call.module, reading):
            got = torch.stack(
                [_compute(rows_TE, _one(x, i, num_experts), reading, args) for i, rows_TE in enumerate(inputs_XTE)]
            )
            errors[f"{args.activation}, {reading.label}"] = error = mismatch(got, outputs_XTE)
            if error < TOLERANCE:
                top_k = int((routing_TX > 0).sum(1).max())
                return FittedExperts(args, reading.w, routing_TX, top_k, outputs_XTE.sum(0), weight_on_input=True)
    raise Unexplained(call.name, "no reading of the experts' tensors reproduces their output", errors)


def _one(x: Tensor, expert: int, num_experts: int) -> Tensor:
    """Routing of all tokens to one expert."""
    routing = torch.zeros(x.shape[0], num_experts)
    routing[:, expert] = 1.0
    return routing


def _routing(call: Call, num_experts: int) -> tuple[Tensor, Tensor, int]:
    """Input rows, dense routing weights and the number of choices, from the arguments of the call."""
    tensors = [v for v in (*call.args, *call.kwargs.values()) if isinstance(v, Tensor)]
    indices = [t for t in tensors if not t.is_floating_point() and t.ndim == 2]
    scores = [t for t in tensors[1:] if t.is_floating_point() and t.ndim == 2]
    if len(indices) != 1 or len(scores) != 1:
        raise Unexplained(call.name, "its experts are not called with tokens, chosen indices and weights")
    index, weight, x = indices[0], scores[0], rows(tensors[0])
    if weight.shape[1] == num_experts != index.shape[1]:
        weight = weight.gather(1, index)
    dense = torch.zeros(x.shape[0], num_experts).scatter_add_(1, index, weight.float())
    return x, dense.detach(), index.shape[1]


def _readings(matrices: Sequence[Tensor], vectors: Sequence[Tensor], hidden: int) -> Iterator[_Reading]:
    """All ways to read two or three stacks of matrices as ours, `[X, out, in]`."""
    if len(matrices) == 2:
        for gate_up, down in itertools.permutations(matrices):
            for turned in (False, True):
                first = gate_up.transpose(1, 2) if turned else gate_up
                last = down.transpose(1, 2) if turned else down
                if first.shape[2] != hidden or last.shape[1] != hidden:
                    continue
                layout = "input-major" if turned else "output-major"
                if first.shape[1] == last.shape[2]:
                    yield from _with_biases(f"{layout}, plain", {"w1": first, "w2": last}, vectors, "")
                elif first.shape[1] == 2 * last.shape[2]:
                    yield from _halves(layout, first, last, vectors)
    elif len(matrices) == 3:
        for gate, up, down in itertools.permutations(matrices):
            for turned in (False, True):
                w1, w3, w2 = (t.transpose(1, 2) if turned else t for t in (gate, up, down))
                if w1.shape == w3.shape and w1.shape[2] == hidden == w2.shape[1] and w1.shape[1] == w2.shape[2]:
                    yield _Reading("three stacks", {"w1": w1, "w3": w3, "w2": w2})


def _halves(layout: str, first: Tensor, last: Tensor, vectors: Sequence[Tensor]) -> Iterator[_Reading]:
    for interleaved, swapped in itertools.product((False, True), repeat=2):
        parts = split_pairs(first, interleaved)
        gate, up = reversed(parts) if swapped else parts
        order = f"{'interleaved' if interleaved else 'halves'}{' swapped' if swapped else ''}"
        yield from _with_biases(f"{layout}, {order}", {"w1": gate, "w3": up, "w2": last}, vectors, order)


def split_pairs(t: Tensor, interleaved: bool) -> tuple[Tensor, Tensor]:
    """Two halves along dim 1: one after the other, or alternating."""
    first, second = t.unflatten(1, (-1, 2)).unbind(2) if interleaved else t.chunk(2, dim=1)
    return first, second


def _with_biases(label: str, w: dict[str, Tensor], vectors: Sequence[Tensor], order: str) -> Iterator[_Reading]:
    if not vectors:
        yield _Reading(label, w)
        return
    if len(vectors) != 2:
        return
    for first, last in itertools.permutations(vectors):
        if last.shape[1] != w["w2"].shape[1]:
            continue
        if "w3" not in w and first.shape[1] == w["w1"].shape[1]:
            yield _Reading(label, {**w, "b1": first, "b2": last})
        elif "w3" in w and first.shape[1] == 2 * w["w1"].shape[1]:
            gate, up = split_pairs(first, "interleaved" in order)
            if "swapped" in order:
                gate, up = up, gate
            yield _Reading(label, {**w, "b1": gate, "b3": up, "b2": last})


def _activations(module: nn.Module, reading: _Reading) -> Iterator[ExpertArgs]:
    size, gated, bias = reading.w["w1"].shape[1], "w3" in reading.w, "b1" in reading.w
    for name in ACTIVATIONS:
        yield ExpertArgs(intermediate_size=size, activation=name, gated=gated, bias=bias)
    numbers = [float(v) for v in vars(module).values() if isinstance(v, float)]
    if gated:
        for clamp, alpha in itertools.permutations(numbers, 2):
            yield ExpertArgs(intermediate_size=size, activation="clamped_swiglu", bias=bias, clamp=clamp, alpha=alpha)


def _compute(x: Tensor, routing_TX: Tensor, reading: _Reading, args: ExpertArgs) -> Tensor:
    w = reading.w

    def product(inputs: Tensor, matrix: str, bias: str) -> Tensor:
        y = torch.einsum("xti,xoi->xto", inputs, w[matrix])
        return y + w[bias][:, None] if bias in w else y

    inputs = x.expand(w["w1"].shape[0], *x.shape)
    gate = product(inputs, "w1", "b1")
    if args.activation == "clamped_swiglu":
        assert args.clamp is not None
        inner = clamped_swiglu(gate, product(inputs, "w3", "b3"), args.clamp, args.alpha)
    else:
        with torch.no_grad():
            inner = activation_of(args.activation)(gate)
        inner = inner * product(inputs, "w3", "b3") if args.gated else inner
    return torch.einsum("xte,tx->te", product(inner, "w2", "b2"), routing_TX)
