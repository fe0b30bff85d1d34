# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Is a description the only one? Changes every option that has alternatives, and asks whether the logits would tell.

An alternative that cannot be told from the found option on any seed and config, and that is not proven to compute the same,
makes the result ambiguous. Dimensions of the models are tiny: each alternative costs one forward pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    DecoderArgs,
    DeltaNetArgs,
    FeedForwardArgs,
    LayerArgs,
    MLAArgs,
    MoEArgs,
    NormArgs,
    QKNormArgs,
)
from areal.experimental.models.archon.scaffold.dataflow import mismatch
from areal.experimental.models.archon.scaffold.feed_forward import ACTIVATIONS
from areal.experimental.models.archon.scaffold.hf_model import random_tokens
from areal.experimental.models.archon.scaffold.sensitivity import Sample
from areal.experimental.models.archon.scaffold.verify import logits_of_ours, ours_of

DISTINCT = 2e-5
"""Logits further apart than rounding ever moves them."""


def ambiguities(samples: Sequence[Sample]) -> tuple[list[str], dict[str, float]]:
    """Alternatives that no sample tells apart, and the largest separation of each alternative that was tried."""
    separation: dict[str, float] = {}
    for sample in samples:
        tokens = random_tokens(sample.config, 11)
        found = sample.observation
        with torch.no_grad():
            expected = logits_of_ours(ours_of(found.args, found.tensors), tokens)
            for label, args in alternatives(found.args):
                got = logits_of_ours(ours_of(args, found.tensors), tokens)
                separation[label] = max(separation.get(label, 0.0), mismatch(got, expected))
    return sorted(label for label, value in separation.items() if value < DISTINCT), separation


def alternatives(args: DecoderArgs) -> Iterator[tuple[str, DecoderArgs]]:
    """The same tensors under other options, one changed at a time (in all layers), equivalent ones left out."""
    for label, layers in _of_layers(args.layers):
        yield label, replace(args, layers=layers)
    for label, norm in _of_norm(args.final_norm):
        yield f"final_norm: {label}", replace(args, final_norm=norm)
    for name, rope in args.ropes.items():
        if rope.rotary_dim > 2:
            style = "interleaved" if rope.style == "half" else "half"
            yield f"rope {name}: {style}", replace(args, ropes={**args.ropes, name: replace(rope, style=style)})
            yield (
                f"rope {name}: theta",
                replace(args, ropes={**args.ropes, name: replace(rope, theta=rope.theta * 1.3)}),
            )
    yield "embedding scale", replace(args, embedding=replace(args.embedding, scale=args.embedding.scale * 1.1))
    yield "head scale", replace(args, head=replace(args.head, scale=args.head.scale * 1.1))


def _of_layers(layers: tuple[LayerArgs, ...]) -> Iterator[tuple[str, tuple[LayerArgs, ...]]]:
    """All changes that some layer admits, each made in every layer that does."""
    changes: dict[str, list[LayerArgs]] = {}
    for n, layer in enumerate(layers):
        for label, other in _of_layer(layer):
            changes.setdefault(label, list(layers))[n] = other
    for label, changed in changes.items():
        yield label, tuple(changed)


def _of_layer(layer: LayerArgs) -> Iterator[tuple[str, LayerArgs]]:
    for field in dataclasses.fields(layer):
        value = layer.__dict__[field.name]
        if isinstance(value, NormArgs):
            for label, norm in _of_norm(value):
                yield f"{field.name}: {label}", replace(layer, **{field.name: norm})
    if layer.attention_norm is not None and (layer.ffn_norm is not None or layer.parallel):
        yield "parallel branches", replace(layer, parallel=not layer.parallel)
    yield "residual_scale", replace(layer, residual_scale=layer.residual_scale * 1.1)
    mixer = layer.mixer
    if isinstance(mixer, AttentionArgs):
        for label, other in _of_attention(mixer):
            yield f"attention: {label}", replace(layer, mixer=other)
    elif isinstance(mixer, MLAArgs):
        yield (
            "attention: scale",
            replace(layer, mixer=replace(mixer, score=replace(mixer.score, scale=mixer.score.scale * 1.1))),
        )
    elif isinstance(mixer, DeltaNetArgs):
        yield "linear attention: step scale", replace(layer, mixer=replace(mixer, step_scale=mixer.step_scale * 1.1))
        for label, norm in _of_norm(mixer.norm):
            yield f"linear attention: norm {label}", replace(layer, mixer=replace(mixer, norm=norm))
    ffn = layer.ffn
    changes = _of_moe(ffn) if isinstance(ffn, MoEArgs) else _of_activation(ffn)
    for label, fed in changes:
        yield f"feed-forward: {label}", replace(layer, ffn=fed)


def _of_norm(norm: NormArgs) -> Iterator[tuple[str, NormArgs]]:
    for kind in ("rms", "layer"):
        if kind != norm.kind:
            yield f"kind {kind}", replace(norm, kind=kind)  # type: ignore[arg-type]
    if norm.has_weight:
        yield "offset", replace(norm, offset=1.0 - norm.offset)
    yield "eps", replace(norm, eps=norm.eps + 0.1)


def _of_attention(attention: AttentionArgs) -> Iterator[tuple[str, AttentionArgs]]:
    score = attention.score
    yield "scale", replace(attention, score=replace(score, scale=score.scale * 1.1))
    if score.window is not None:
        yield "no window", replace(attention, score=replace(score, window=None))
        yield "wider window", replace(attention, score=replace(score, window=score.window + 1))
    if score.softcap is not None:
        yield "no softcap", replace(attention, score=replace(score, softcap=None))
    if attention.alibi is not None:
        yield "no alibi", replace(attention, alibi=None)
        steeper = replace(attention.alibi, factor=attention.alibi.factor * 1.1)
        yield "alibi of other slopes", replace(attention, alibi=steeper)
    if attention.rope is not None:
        yield "no rope", replace(attention, rope=None)
    qk_norm = attention.qk_norm
    if qk_norm is not None:
        if attention.rope is not None and not _commutes_with_rope(qk_norm):
            yield (
                "norm on the other side of rope",
                replace(attention, qk_norm=replace(qk_norm, after_rope=not qk_norm.after_rope)),
            )
        for label, norm in _of_norm(qk_norm.norm):
            yield f"qk norm {label}", replace(attention, qk_norm=replace(qk_norm, norm=norm))


def _commutes_with_rope(qk_norm: QKNormArgs) -> bool:
    """A rotation keeps lengths: without weights, rms and l2 norms give the same on both sides."""
    return not qk_norm.norm.has_weight and qk_norm.norm.kind in ("rms", "l2")


def _of_activation(ffn: FeedForwardArgs) -> Iterator[tuple[str, FeedForwardArgs]]:
    for name in ACTIVATIONS:
        if name != ffn.activation and ffn.activation != "xielu":
            yield f"activation {name}", replace(ffn, activation=name)


def _of_moe(moe: MoEArgs) -> Iterator[tuple[str, MoEArgs]]:
    for name in ACTIVATIONS:
        if name != moe.experts.activation and moe.experts.activation != "clamped_swiglu":
            yield f"expert activation {name}", replace(moe, experts=replace(moe.experts, activation=name))
    router = moe.router
    yield "router scale", replace(moe, router=replace(router, scale=router.scale * 1.1))
    if router.score in ("softmax", "sigmoid"):
        other = "sigmoid" if router.score == "softmax" else "softmax"
        yield f"router score {other}", replace(moe, router=replace(router, score=other))  # type: ignore[arg-type]
        if moe.top_k > 1 or router.score == "sigmoid":
            yield "router normalisation", replace(moe, router=replace(router, normalize=not router.normalize))
    if router.num_groups > router.num_limited_groups:
        yield "no groups", replace(moe, router=replace(router, num_groups=1, num_limited_groups=1))
