# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Recognises gated DeltaNet: which rows of which projections are q, k, v, z, b and a follows from what its norm reads.

The convolution and the recurrence are no modules, so that they are computed for each reading and compared as one.
Dimensions: T tokens, K key heads, H value heads, D key width, W value width, C channels of the convolution.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from areal.experimental.models.archon.kernels.conv import causal_conv
from areal.experimental.models.archon.kernels.delta_rule import delta_rule
from areal.experimental.models.archon.model_args import DeltaNetArgs
from areal.experimental.models.archon.modules.activation import activation_of
from areal.experimental.models.archon.modules.delta_net import unit_rows
from areal.experimental.models.archon.scaffold.dataflow import LinearCall, linears, mismatch, rows, same
from areal.experimental.models.archon.scaffold.feed_forward import ACTIVATIONS
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.hf_model import Call
from areal.experimental.models.archon.scaffold.norms import FittedNorm, fit_norm

TOLERANCE = 1e-4
"""Of the recurrence, whose rounding grows with its length; wrong readings are off by more than a tenth."""
STEP_SCALES = (1.0, 2.0)
"""Factors of the sigmoid step: 2 lets the state forget with a negative sign (olmo_hybrid)."""


@dataclass(frozen=True)
class FittedDeltaNet:
    """Arguments and tensors (by our names below the mixer) of a gated DeltaNet layer."""

    args: DeltaNetArgs
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class _Sizes:
    num_keys: int
    num_values: int
    key_width: int
    value_width: int

    @property
    def channels(self) -> tuple[int, int, int]:
        """Rows of q, k and v."""
        keys = self.num_keys * self.key_width
        return keys, keys, self.num_values * self.value_width


@dataclass(frozen=True)
class _Reading:
    """Values (rows by tokens) and weights of the projections, by our names."""

    label: str
    values: dict[str, Tensor]
    weights: dict[str, Tensor]


def is_delta_net(module: nn.Module) -> bool:
    """Whether a module holds a depthwise convolution and per head decay and step biases, as gated DeltaNet does."""
    convolutions, vectors = _convolutions(module), _vectors(module)
    return len(convolutions) == 1 and len(vectors) == 2 and vectors[0].shape == vectors[1].shape


def fit_delta_net(
    where: str, calls: Sequence[Call], x: Tensor, y: Tensor, module: nn.Module, known_eps: tuple[float, ...]
) -> FittedDeltaNet:
    """The gated DeltaNet that a mixer computes from x to y; `Unexplained` when it is none of ours."""
    products = linears(calls)
    inputs = [p for p in products if same(p.x, x)]
    outputs = [p for p in products if same(p.y, y)]
    if len(outputs) != 1 or len(inputs) + 1 != len(products) or any(p.bias is not None for p in products):
        names = [f"{p.name}{'' if p.bias is None else ' with a bias'}" for p in products]
        raise Unexplained(
            where, f"expected projections of the input and one before the output, without biases, got {names}"
        )
    norm, core, z = _gated_norm(where, calls, outputs[0], known_eps)
    conv = _convolutions(module)[0].detach().squeeze(1)
    vectors = [v.detach() for v in _vectors(module)]
    errors: dict[str, float] = {}
    for sizes in _sizes(conv.shape[0], len(vectors[0]), core.shape[-1]):
        core_THW = core.unflatten(0, (-1, sizes.num_values))
        for reading in _readings(inputs, sizes, z):
            for decay, bias in itertools.permutations(vectors):
                for scale, act in itertools.product(STEP_SCALES, ACTIVATIONS):
                    got = _compute(reading, sizes, conv, decay, bias, scale, act)
                    label = f"{act}, step scale {scale:g}, {sizes.num_keys} key heads, {reading.label}"
                    errors[label] = error = mismatch(got, core_THW)
                    if error < TOLERANCE:
                        named = {
                            "conv1d.weight": conv,
                            "A_log": decay,
                            "dt_bias": bias,
                            "out_proj.weight": outputs[0].weight,
                        }
                        named |= {f"norm.{part}": t for part, t in norm.weights.items()}
                        named |= {f"in_proj_{name}.weight": t for name, t in reading.weights.items()}
                        return FittedDeltaNet(_args(sizes, norm, conv, scale, act), named)
    what = "is not a gated delta rule with one decay a head (Gated DeltaNet) behind a causal convolution"
    raise Unexplained(where, what, errors)


def _args(sizes: _Sizes, norm: FittedNorm, conv: Tensor, scale: float, act: str) -> DeltaNetArgs:
    return DeltaNetArgs(
        num_key_heads=sizes.num_keys,
        num_value_heads=sizes.num_values,
        key_head_dim=sizes.key_width,
        value_head_dim=sizes.value_width,
        conv_kernel=conv.shape[1],
        norm=norm.args,
        activation=act,  # type: ignore[arg-type]
        step_scale=scale,
    )


def _convolutions(module: nn.Module) -> list[Tensor]:
    return [p for p in module.parameters() if p.ndim == 3 and p.shape[1] == 1]


def _vectors(module: nn.Module) -> list[Tensor]:
    return [p for p in module.parameters(recurse=False) if p.ndim == 1]


class _Ungated(nn.Module):
    """A gated norm with the gate of one that leaves its value alone."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """The norm alone."""
        gate = torch.ones_like(x)
        return self.inner(x, gate) / F.silu(gate)


def _gated_norm(
    where: str, calls: Sequence[Call], out: LinearCall, known_eps: tuple[float, ...]
) -> tuple[FittedNorm, Tensor, Tensor]:
    """The norm before the output projection, what it reads `[T·H, W]`, and its gate `[T, H·W]`."""
    for call in calls:
        tensors = [t for t in (*call.args, *call.kwargs.values()) if isinstance(t, Tensor)]
        if len(tensors) != 2 or not same(rows(call.y), out.x):
            continue
        width = call.x.shape[-1]
        norm = fit_norm(_Ungated(call.module), call.name, width, known_eps)
        norm = replace(norm, args=replace(norm.args, weight_in_fp32=False))
        return norm, rows(call.x), tensors[1].detach().reshape(out.x.shape)
    raise Unexplained(where, "the output projection does not read a normalisation with a gate")


def _sizes(channels: int, num_values: int, value_width: int) -> Iterator[_Sizes]:
    """All numbers of key heads that the sizes admit."""
    keys = (channels - num_values * value_width) // 2
    for num_keys in range(1, num_values + 1):
        if keys > 0 and num_values % num_keys == 0 and keys % num_keys == 0:
            yield _Sizes(num_keys, num_values, keys // num_keys, value_width)


def _readings(inputs: Sequence[LinearCall], sizes: _Sizes, z: Tensor) -> Iterator[_Reading]:
    """All ways to read the projections whose rows for z are the gate of the norm."""
    gates = [p for p in inputs if p.width == z.shape[-1] and same(p.y, z)]
    steps = [p for p in inputs if p.width == sizes.num_values]
    channels = [p for p in inputs if p not in gates and p not in steps]
    if len(gates) == 1 and len(steps) == 2 and sum(p.width for p in channels) == sum(sizes.channels):
        for b, a in itertools.permutations(steps):
            for order in itertools.permutations(channels):
                parts = {"qkv": order, "z": gates, "b": (b,), "a": (a,)}
                values = {name: torch.cat([p.y for p in found], dim=-1) for name, found in parts.items()}
                weights = {name: torch.cat([p.weight for p in found]) for name, found in parts.items()}
                yield _Reading("separate projections", values, weights)
    elif len(inputs) == 2:
        yield from _fused(inputs, sizes, z)


def _fused(inputs: Sequence[LinearCall], sizes: _Sizes, z: Tensor) -> Iterator[_Reading]:
    """[q | k | v | z] in one projection and [b | a] in the other, whole or key head by key head, in any order."""
    keys, _, values = sizes.channels
    wide, narrow = sorted(inputs, key=lambda p: p.width, reverse=True)
    if wide.width != 2 * keys + 2 * values or narrow.width != 2 * sizes.num_values:
        return
    rows_of = {"q": keys, "k": keys, "v": values, "z": values}
    for groups in dict.fromkeys((1, sizes.num_keys)):
        for order in itertools.permutations("qkvz"):
            row = _grouped(order, [rows_of[name] for name in order], groups)
            if not same(wide.y[:, row["z"]], z):
                continue
            qkv = torch.cat([row[name] for name in "qkv"])
            for steps in itertools.permutations("ba"):
                step = _grouped(steps, [sizes.num_values] * 2, groups)
                index = {"qkv": (wide, qkv), "z": (wide, row["z"]), "b": (narrow, step["b"]), "a": (narrow, step["a"])}
                yield _Reading(
                    f"fused {''.join(order)} {''.join(steps)} in {groups} groups",
                    {name: p.y[:, at] for name, (p, at) in index.items()},
                    {name: p.weight[at] for name, (p, at) in index.items()},
                )


def _grouped(names: Sequence[str], sizes: Sequence[int], groups: int) -> dict[str, Tensor]:
    """Rows of each part where every group holds a share of all."""
    index = torch.arange(sum(sizes)).unflatten(0, (groups, -1))
    parts = index.split([size // groups for size in sizes], dim=1)
    return {name: part.flatten() for name, part in zip(names, parts, strict=True)}


def _compute(
    reading: _Reading, sizes: _Sizes, conv: Tensor, decay: Tensor, bias: Tensor, scale: float, act: str
) -> Tensor:
    """What the norm reads, `[T, H, W]`."""
    values = reading.values
    length = len(values["qkv"])
    with torch.no_grad():
        mixed = activation_of(act)(causal_conv(values["qkv"], conv, (length,)))
        q, k, v = mixed.split(sizes.channels, dim=-1)
        repeats = sizes.num_values // sizes.num_keys
        q, k = (unit_rows(t.unflatten(-1, (-1, sizes.key_width))).repeat_interleave(repeats, dim=1) for t in (q, k))
        log_decay = -decay.exp() * F.softplus(values["a"] + bias)
        steps = torch.sigmoid(values["b"]) * scale
        return delta_rule(q, k, v.unflatten(-1, (-1, sizes.value_width)), log_decay, steps, (length,))[0]
