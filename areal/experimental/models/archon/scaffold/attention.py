# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Recognises grouped-query attention from its traced projections and the operands of the attention function.

Order of the search: which rows are q, k, v (values arrive unchanged), normalisation of q and k, rotation, scores, gate.
Dimensions: T tokens, H query heads, K key heads, D query width, W value width.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from areal.experimental.models.archon.model_args import AttentionArgs, QKNormArgs, RopeArgs
from areal.experimental.models.archon.scaffold.attends import Attend
from areal.experimental.models.archon.scaffold.dataflow import (
    LinearCall,
    is_multiple,
    is_norm_like,
    linears,
    mismatch,
    ratio,
    rows,
    same,
    snapped_to_one,
)
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.hf_model import Call
from areal.experimental.models.archon.scaffold.norms import FittedNorm, fit_norm
from areal.experimental.models.archon.scaffold.qk_norms import fit_qk_norm, traced_norms
from areal.experimental.models.archon.scaffold.scores import fit_scores
from areal.experimental.models.archon.scaffold.temperature import fit_rope_and_temperature


@dataclass(frozen=True)
class FittedAttention:
    """Arguments, tensors (by our names below the mixer) and the rotary table of an attention layer."""

    args: AttentionArgs
    weights: dict[str, Tensor]
    table: RopeArgs | None


@dataclass(frozen=True)
class MixerTrace:
    """What was observed of one mixer: its calls, its attention call, its input and output rows, and the config."""

    where: str
    calls: Sequence[Call]
    attend: Attend
    x: Tensor
    y: Tensor
    config: PreTrainedConfig
    layer_kind: str
    known_eps: tuple[float, ...]


@dataclass(frozen=True)
class _Projections:
    """One reading of the projections: rows of q, k, v (before clipping) with their weights; `gate` an unused projection."""

    label: str
    q: Tensor
    k: Tensor
    v: Tensor
    weights: dict[str, Tensor]
    gate: Tensor | None
    gate_kind: str


def fit_attention(mixer: MixerTrace) -> FittedAttention:
    """The grouped-query attention of a mixer; `Unexplained` when it is none of ours."""
    attend = mixer.attend
    products = linears(mixer.calls)
    inputs = [p for p in products if same(p.x, mixer.x)]
    outputs = [p for p in products if same(p.y, mixer.y)]
    if len(outputs) != 1 or len(inputs) + 1 != len(products):
        raise Unexplained(mixer.where, _odd_projections(mixer, products, inputs, outputs))
    failures: list[Unexplained] = []
    for reading in _readings(inputs, attend):
        try:
            return _fit_reading(mixer, reading, outputs[0])
        except Unexplained as error:
            failures.append(error)
    if not failures:
        widths = [f"{p.name} ({p.width})" for p in inputs]
        raise Unexplained(
            mixer.where,
            f"no reading of the projections {widths} gives the {attend.v.shape[1]} values of {attend.v.shape[-1]} that "
            f"attention gets for {attend.q.shape[1]} query heads of {attend.q.shape[-1]}",
        )
    raise min(failures, key=lambda error: min(error.errors.values(), default=float("inf")))


def _odd_projections(
    mixer: MixerTrace, products: Sequence[LinearCall], inputs: Sequence[LinearCall], outputs: Sequence[LinearCall]
) -> str:
    """Which products have no place in attention."""
    stacked = [c for c in mixer.calls if any(p.ndim == 3 for p in c.module.parameters(recurse=False))]
    if stacked:
        return f"attention holds stacked matrices ({stacked[0].name}, {type(stacked[0].module).__name__}): experts inside a mixer"
    names = [p.name.removeprefix(f"{mixer.where}.") for p in products]
    odd = [name for name, p in zip(names, products) if p not in inputs and p not in outputs]
    what = f"expected projections of the input and one before the output, got {names}"
    parts = {
        c.name: c
        for c in mixer.calls
        if not isinstance(c.module, nn.Linear) and c.name.count(".") == mixer.where.count(".") + 1
    }
    holders = [
        f"{c.name} ({type(c.module).__name__})"
        for c in parts.values()
        if any(p.name.startswith(f"{c.name}.") for p in products)
    ]
    if holders:
        return f"attention holds {', '.join(holders)} with projections of its own"
    return f"{what}, of which {odd} neither read the input nor give the output" if odd else what


def _fit_reading(mixer: MixerTrace, reading: _Projections, out: LinearCall) -> FittedAttention:
    attend = mixer.attend
    num_heads, num_kv_heads = attend.q.shape[1], reading.k.shape[-1] // attend.k.shape[-1]
    q, k, v = reading.q, reading.k, reading.v
    clip, (q, k, v) = _clip(q, k, v, heads_last(attend.v, num_kv_heads), mixer.where)
    q, k = q.unflatten(-1, (num_heads, -1)), k.unflatten(-1, (num_kv_heads, -1))
    final = heads_last(attend.q, num_heads), heads_last(attend.k, num_kv_heads)
    norms = traced_norms(mixer.calls, (q, k), final)
    rope, temperature, factor = fit_rope_and_temperature(
        mixer.config, mixer.where, norms.before_rope, norms.after_rope, mixer.layer_kind
    )
    scores = fit_scores(mixer.where, mixer.attend, mixer.calls, mixer.config)
    score, sinks = replace(scores.args, scale=scores.args.scale * factor), scores.sinks
    weights = {**reading.weights, "wo.weight": out.weight}
    if out.bias is not None:
        weights["wo.bias"] = out.bias
    if sinks is not None:
        weights["sinks"] = sinks
    qk_norm: QKNormArgs | None = None
    if norms.q is not None and norms.k is not None:
        qk_norm, norm_weights = fit_qk_norm(norms, mixer.known_eps)
        if rope.name is None and qk_norm.after_rope:
            qk_norm = replace(qk_norm, after_rope=False)
        weights |= norm_weights
    gate, gate_activation, value_scale, out_norm = _fit_output(mixer, reading, out)
    if clip is None:  # scaled values are a scaled output
        value_scale = snapped_to_one(value_scale * ratio(heads_last(attend.v, num_kv_heads).flatten(-2), v))
    if out_norm is not None:
        weights |= {f"out_norm.{name}": t for name, t in out_norm.weights.items()}
    args = AttentionArgs(
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=attend.q.shape[-1],
        value_head_dim=attend.v.shape[-1],
        score=score,
        rope=rope.name,
        qkv_bias="wq.bias" in weights,
        out_bias=out.bias is not None,
        qk_norm=qk_norm,
        gate=gate,  # type: ignore[arg-type]
        gate_activation=gate_activation,  # type: ignore[arg-type]
        query_temperature=temperature,
        alibi=scores.alibi,
        clip_qkv=clip,
        out_norm=None if out_norm is None else out_norm.args,
        value_scale=value_scale,
    )
    return FittedAttention(args, weights, rope.table)


def heads_last(x: Tensor, num_heads: int) -> Tensor:
    """`[T, heads, width]` of `[1, heads · n, T, width]` with repeated heads dropped."""
    every = x.shape[1] // num_heads
    return x[0, ::every].transpose(0, 1)


def _readings(inputs: Sequence[LinearCall], attend: Attend) -> Iterator[_Projections]:
    """All ways to read the projections that fit the widths; values, which pass unchanged, decide most of them."""
    for reading in itertools.chain(_separate(inputs, attend), _fused(inputs, attend)):
        num_kv_heads = reading.v.shape[-1] // attend.v.shape[-1]
        v = heads_last(attend.v, num_kv_heads).flatten(-2)
        if is_multiple(v, reading.v) or _is_clipped(reading.v, v):
            yield reading


def _separate(inputs: Sequence[LinearCall], attend: Attend) -> Iterator[_Projections]:
    num_heads, head_dim, value_dim = attend.q.shape[1], attend.q.shape[-1], attend.v.shape[-1]
    if len(inputs) not in (3, 4):
        return
    for q, k, v, *rest in itertools.permutations(inputs):
        extra = rest[0] if rest else None
        if k.width % head_dim or v.width % value_dim or k.width // head_dim != v.width // value_dim:
            continue
        if num_heads % (k.width // head_dim) or attend.k.shape[1] % (k.width // head_dim):
            continue
        weights = _weights(wq=(q.weight, q.bias), wk=(k.weight, k.bias), wv=(v.weight, v.bias))
        label = ", ".join(p.name.rpartition(".")[2] for p in (q, k, v))
        if extra is not None and q.width == num_heads * head_dim:
            kind = {num_heads * value_dim: "channel", num_heads: "head"}.get(extra.width)
            if kind is not None:
                weights |= _weights(wg=(extra.weight, extra.bias))
                yield _Projections(label, q.y, k.y, v.y, weights, extra.y, kind)
        elif extra is None and q.width == num_heads * head_dim:
            yield _Projections(label, q.y, k.y, v.y, weights, None, "none")
        elif extra is None and q.width == 2 * num_heads * head_dim:
            query, gate = q.y.unflatten(-1, (num_heads, 2, head_dim)).unbind(-2)
            yield _Projections(label, query.flatten(-2), k.y, v.y, weights, gate.flatten(-2), "query")


def _fused(inputs: Sequence[LinearCall], attend: Attend) -> Iterator[_Projections]:
    """One projection that holds q, k, v one after another, or one group of heads after another, in any order."""
    num_heads, head_dim, value_dim = attend.q.shape[1], attend.q.shape[-1], attend.v.shape[-1]
    if len(inputs) != 1:
        return
    fused = inputs[0]
    left = fused.width - num_heads * head_dim
    if left <= 0 or left % (head_dim + value_dim):
        return
    num_kv = left // (head_dim + value_dim)
    if num_heads % num_kv:
        return
    sizes = {"q": num_heads * head_dim, "k": num_kv * head_dim, "v": num_kv * value_dim}
    for order, groups in itertools.product(itertools.permutations("qkv"), divisors(num_kv)):
        index = torch.arange(fused.width).unflatten(0, (groups, -1))
        parts = dict(zip(order, index.split([sizes[name] // groups for name in order], dim=1), strict=True))
        row = {name: part.flatten() for name, part in parts.items()}
        weights = _weights(
            **{
                f"w{name}": (fused.weight[row[name]], None if fused.bias is None else fused.bias[row[name]])
                for name in "qkv"
            }
        )
        label = f"fused {''.join(order)}, {groups} groups"
        yield _Projections(
            label, fused.y[:, row["q"]], fused.y[:, row["k"]], fused.y[:, row["v"]], weights, None, "none"
        )


def divisors(number: int) -> list[int]:
    """What divides a number, the trivial ones first."""
    return [1, *([number] if number > 1 else []), *(n for n in range(2, number) if number % n == 0)]


def _weights(**parts: tuple[Tensor, Tensor | None]) -> dict[str, Tensor]:
    named = {f"{name}.weight": weight for name, (weight, _) in parts.items()}
    return named | {f"{name}.bias": bias for name, (_, bias) in parts.items() if bias is not None}


def _is_clipped(v: Tensor, final: Tensor) -> bool:
    limit = float(final.abs().max())
    return v.shape == final.shape and same(v.clamp(-limit, limit), final)


def _clip(
    q: Tensor, k: Tensor, v: Tensor, final_v: Tensor, where: str
) -> tuple[float | None, tuple[Tensor, Tensor, Tensor]]:
    """The limit of the projections, read off the values."""
    final_v = final_v.flatten(-2)
    if is_multiple(final_v, v):
        return None, (q, k, v)
    limit = float(final_v.abs().max())
    return limit, (q.clamp(-limit, limit), k.clamp(-limit, limit), v.clamp(-limit, limit))


_GATES = {"sigmoid": torch.sigmoid, "softplus": torch.nn.functional.softplus}


def _fit_output(mixer: MixerTrace, reading: _Projections, out: LinearCall) -> tuple[str, str, float, FittedNorm | None]:
    """What happens between the attention function and the output projection: gate, its activation, scale, norm."""
    value = rows(mixer.attend.out.flatten(-2))
    reads = out.x
    norm: FittedNorm | None = None
    for call in mixer.calls:
        if call.x.shape[-1] == reads.shape[-1] and same(rows(call.y), reads) and is_norm_like(call):
            norm = fit_norm(call.module, call.name, reads.shape[-1], mixer.known_eps)
            reads = rows(call.x)
    errors: dict[str, float] = {}
    if reading.gate is None:
        errors["no gate"] = mismatch(value * ratio(reads, value), reads)
        if is_multiple(reads, value):
            return "none", "sigmoid", ratio(reads, value), norm
    else:
        for name, function in _GATES.items():
            gate = function(reading.gate)
            if reading.gate_kind == "head":
                gate = gate.repeat_interleave(mixer.attend.v.shape[-1], dim=-1)
            errors[f"{name} gate ({reading.gate_kind})"] = mismatch(value * gate, reads)
            if same(value * gate, reads):
                return reading.gate_kind, name, 1.0, norm
    raise Unexplained(
        mixer.where, "the output projection reads something else than the (gated) attention output", errors
    )
