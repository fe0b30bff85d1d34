# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Finds the normalisations of queries and keys in a trace, and whether they stand before or after the rotation.

Dimensions: T tokens, H heads, D width.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from areal.experimental.models.archon.model_args import QKNormArgs
from areal.experimental.models.archon.scaffold.dataflow import TOLERANCE, is_norm_like, mismatch, same
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.hf_model import Call
from areal.experimental.models.archon.scaffold.norms import FittedNorm, fit_norm, ours


@dataclass(frozen=True)
class TracedNorms:
    """The norm calls (None: there are none) and the operands (q, k) `[T, H, D]` on both sides of the rotation."""

    q: Call | None
    k: Call | None
    is_after_rope: bool
    before_rope: tuple[Tensor, Tensor]
    after_rope: tuple[Tensor, Tensor]


def traced_norms(calls: Iterable[Call], projected: tuple[Tensor, Tensor], final: tuple[Tensor, Tensor]) -> TracedNorms:
    """The norms whose input is the projection (before the rotation) or whose output is the final operand (after it)."""
    norms = [call for call in calls if is_norm_like(call)]
    before = [_find(norms, "x", operand) for operand in projected]
    if before[0] is not None and before[1] is not None:
        normal = tuple(_canonical(call.y, p) for call, p in zip(before, projected))  # type: ignore[union-attr]
        return TracedNorms(before[0], before[1], False, (normal[0], normal[1]), final)
    after = [_find(norms, "y", operand) for operand in final]
    if after[0] is not None and after[1] is not None:
        turned = tuple(_canonical(call.x, f) for call, f in zip(after, final))  # type: ignore[union-attr]
        return TracedNorms(after[0], after[1], True, projected, (turned[0], turned[1]))
    return TracedNorms(None, None, False, projected, final)


def fit_qk_norm(norms: TracedNorms, known_eps: tuple[float, ...]) -> tuple[QKNormArgs, dict[str, Tensor]]:
    """Arguments of both norms, which must agree, and their tensors."""
    assert norms.q is not None and norms.k is not None
    operands = norms.before_rope if not norms.is_after_rope else norms.after_rope
    kind_q, fitted_q = _fit(norms.q, operands[0], known_eps)
    kind_k, fitted_k = _fit(norms.k, operands[1], known_eps)
    if operands[1].shape[1] == 1:  # one head: `head` and `flat` are the same
        kind_k = kind_q
    if kind_q != kind_k or fitted_q.args != fitted_k.args:
        raise Unexplained(norms.q.name, f"queries are normalised by {fitted_q.args}, keys by {fitted_k.args}")
    weights = {f"q_norm.{name}": t for name, t in fitted_q.weights.items()}
    weights |= {f"k_norm.{name}": t for name, t in fitted_k.weights.items()}
    return QKNormArgs(norm=fitted_q.args, kind=kind_q, after_rope=norms.is_after_rope), weights  # type: ignore[arg-type]


def _fit(call: Call, operand: Tensor, known_eps: tuple[float, ...]) -> tuple[str, FittedNorm]:
    num_heads, head_dim = operand.shape[1:]
    parts = list(call.module.children())
    if len(list(call.module.parameters())) > 1 and len(parts) == 1 and len(list(parts[0].children())) == num_heads:
        return "per_head", _fit_list(call, operand, known_eps)
    is_flat = call.x.shape[-1] == num_heads * head_dim and num_heads > 1
    fitted = fit_norm(call.module, call.name, call.x.shape[-1], known_eps)
    if is_flat:
        return "flat", fitted
    weight = fitted.weights.get("weight")
    return ("per_head" if weight is not None and weight.ndim == 2 else "head"), fitted


def _fit_list(call: Call, operand: Tensor, known_eps: tuple[float, ...]) -> FittedNorm:
    """A module that holds one norm for each head (stablelm)."""
    (heads,) = call.module.children()
    fitted = [fit_norm(module, call.name, operand.shape[-1], known_eps) for module in heads.children()]
    weights = {name: torch.stack([f.weights[name] for f in fitted]) for name in fitted[0].weights}
    norm = ours(fitted[0].args, weights.get("weight"), weights.get("bias"), operand.shape[-1])
    error = mismatch(norm(_canonical(call.x, operand)), _canonical(call.y, operand))
    if error > TOLERANCE:
        raise Unexplained(call.name, "is not one normalisation a head", {"per head": error})
    return FittedNorm(fitted[0].args, weights)


def _find(norms: Iterable[Call], side: str, operand: Tensor) -> Call | None:
    for call in norms:
        value = call.x if side == "x" else call.y
        if value.numel() == operand.numel() and same(_canonical(value, operand), operand):
            return call
    return None


def _canonical(value: Tensor, like: Tensor) -> Tensor:
    """A traced value as `[T, H, D]`, whichever of tokens and heads comes first in it."""
    num_tokens, num_heads, _ = like.shape
    if value.ndim == 4 and value.shape[1] == num_heads and value.shape[2] == num_tokens and num_heads != num_tokens:
        return value[0].transpose(0, 1)
    return value.reshape(like.shape)
