# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Recognises multi-head latent attention: which linear is which follows from who reads whom.

Dimensions: T tokens, H heads, D = nope + rope width of q and k, W value width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from areal.experimental.models.archon.model_args import MLAArgs, NormArgs, RopeArgs
from areal.experimental.models.archon.scaffold.attention import MixerTrace
from areal.experimental.models.archon.scaffold.dataflow import LinearCall, is_norm_like, linears, mismatch, rows, same
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.hf_model import Call
from areal.experimental.models.archon.scaffold.norms import FittedNorm, fit_norm
from areal.experimental.models.archon.scaffold.rotary import fit_rope
from areal.experimental.models.archon.scaffold.scores import fit_scores


@dataclass(frozen=True)
class FittedMLA:
    """Arguments, tensors (by our names below the mixer) and the rotary table of an MLA layer."""

    args: MLAArgs
    weights: dict[str, Tensor]
    table: RopeArgs | None


def is_latent(mixer: MixerTrace) -> bool:
    """Whether a projection reads a normalised slice of another projection."""
    products = linears(mixer.calls)
    inputs = [p for p in products if same(p.x, mixer.x)]
    others = [p for p in products if not same(p.x, mixer.x) and not same(p.y, mixer.y)]
    return bool(others) and len(inputs) == 2


def fit_mla(mixer: MixerTrace) -> FittedMLA:
    """The latent attention of a mixer; `Unexplained` when it is none of ours."""
    products = linears(mixer.calls)
    outputs = [p for p in products if same(p.y, mixer.y)]
    inputs = [p for p in products if same(p.x, mixer.x)]
    inner = [p for p in products if p not in inputs and p not in outputs]
    if len(outputs) != 1 or len(inputs) != 2 or len(inner) not in (1, 2):
        raise Unexplained(
            mixer.where, f"expected 4 or 5 projections of latent attention, got {[p.name for p in products]}"
        )
    num_heads, width = mixer.attend.q.shape[1], mixer.attend.q.shape[-1]
    errors: dict[str, float] = {}
    for kv_a in inputs:
        query_in = next(p for p in inputs if p is not kv_a)
        for kv_b in inner:
            rest = [p for p in inner if p is not kv_b]
            norm_kv = _norm_between(mixer.calls, kv_a.y[:, : kv_b.x.shape[-1]], kv_b)
            norm_q = _norm_between(mixer.calls, query_in.y, rest[0]) if rest else None
            q = rest[0] if rest else query_in
            if norm_kv is None or q.width != num_heads * width or (rest and norm_q is None):
                continue
            return _fit(mixer, _Parts(query_in, q, kv_a, kv_b, outputs[0], norm_q, norm_kv))
    raise Unexplained(mixer.where, "its projections do not chain like latent attention", errors)


@dataclass(frozen=True)
class _Parts:
    query_in: LinearCall
    query: LinearCall
    kv_a: LinearCall
    kv_b: LinearCall
    out: LinearCall
    norm_q: Call | None
    norm_kv: Call


def _norm_between(calls: Sequence[Call], before: Tensor, after: LinearCall) -> Call | None:
    for call in calls:
        if same(rows(call.x), before) and same(rows(call.y), after.x) and is_norm_like(call):
            return call
    return None


def _fit(mixer: MixerTrace, parts: _Parts) -> FittedMLA:
    attend = mixer.attend
    num_heads, width, value_dim = attend.q.shape[1], attend.q.shape[-1], attend.v.shape[-1]
    kv_rank = parts.kv_b.x.shape[-1]
    rope_dim = parts.kv_a.width - kv_rank
    nope_dim = width - rope_dim
    q = parts.query.y.unflatten(-1, (num_heads, width))
    k_rope = parts.kv_a.y[:, kv_rank:].unsqueeze(1)
    both = parts.kv_b.y.unflatten(-1, (num_heads, -1))
    if both.shape[-1] - nope_dim != value_dim and both.shape[-1] - nope_dim > value_dim:
        raise Unexplained(mixer.where, f"values are {both.shape[-1] - nope_dim} wide, attention gets {value_dim}")
    value_dim = both.shape[-1] - nope_dim
    k_nope, v = both.split((nope_dim, value_dim), dim=-1)
    final_q, final_k, final_v = (t[0].transpose(0, 1) for t in (attend.q, attend.k, attend.v))
    checks = {
        "v": mismatch(v, final_v[..., :value_dim]),
        "nope part of q": mismatch(q[..., :nope_dim], final_q[..., :nope_dim]),
        "nope part of k": mismatch(k_nope, final_k[..., :nope_dim]),
    }
    if max(checks.values()) > 2e-5:
        raise Unexplained(mixer.where, "heads are not [nope | rope] and [nope | value]", checks)
    after = final_q[..., nope_dim:], final_k[:, :1, nope_dim:]
    rope = fit_rope(mixer.config, mixer.where, (q[..., nope_dim:], k_rope), after, mixer.layer_kind)
    if rope.name is None:
        raise Unexplained(mixer.where, "latent attention without positions")
    scores = fit_scores(mixer.where, attend, mixer.calls, mixer.config)
    if scores.sinks is not None or scores.alibi is not None:
        raise Unexplained(mixer.where, f"latent attention with {'alibi' if scores.sinks is None else 'sinks'}")
    if not same(rows(attend.out[..., :value_dim].flatten(-2)), parts.out.x):
        raise Unexplained(mixer.where, "the output projection reads something else than the attention output")
    norm, weights = _weights(mixer, parts)
    if parts.norm_q is None:
        weights["wq.weight"] = parts.query.weight
    args = MLAArgs(
        num_heads=num_heads,
        q_rank=None if parts.norm_q is None else parts.query.x.shape[-1],
        kv_rank=kv_rank,
        nope_head_dim=nope_dim,
        rope_head_dim=rope_dim,
        value_head_dim=value_dim,
        score=scores.args,
        norm=norm,
        rope=rope.name,
        bias=parts.kv_a.bias is not None,
        out_bias=parts.out.bias is not None,
    )
    return FittedMLA(args, weights, rope.table)


def _weights(mixer: MixerTrace, parts: _Parts) -> tuple[NormArgs, dict[str, Tensor]]:
    norms: dict[str, FittedNorm] = {
        "kv_a_norm": fit_norm(parts.norm_kv.module, parts.norm_kv.name, parts.norm_kv.x.shape[-1], mixer.known_eps)
    }
    named = {"wkv_a": parts.kv_a, "wkv_b": parts.kv_b, "wo": parts.out}
    if parts.norm_q is not None:
        norms["q_a_norm"] = fit_norm(parts.norm_q.module, parts.norm_q.name, parts.norm_q.x.shape[-1], mixer.known_eps)
        named |= {"wq_a": parts.query_in, "wq_b": parts.query}
    if len({norm.args for norm in norms.values()}) > 1:
        raise Unexplained(mixer.where, f"its two norms differ: {[norm.args for norm in norms.values()]}")
    weights = {f"{name}.{part}": t for name, norm in norms.items() for part, t in norm.weights.items()}
    for name, product in named.items():
        weights[f"{name}.weight"] = product.weight
        if product.bias is not None:
            weights[f"{name}.bias"] = product.bias
    return norms["kv_a_norm"].args, weights
