# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Recognises the residual layout of a block from the values that flow between its children.

Which norm has which role, whether branches are parallel and by what they are scaled follows from equations between tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from areal.experimental.models.archon.scaffold.dataflow import (
    TOLERANCE,
    is_multiple,
    is_norm_like,
    mismatch,
    ratio,
    rows,
    same,
    snapped_to_one,
)
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.hf_model import Call, Trace


@dataclass(frozen=True)
class Branch:
    """A branch of the residual stream: what goes in and what comes out of the child (or children) that compute it."""

    names: tuple[str, ...]
    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Layout:
    """Roles of the norms (calls, None where there is none) and the shape of the residual stream."""

    norms: dict[str, Call | None]
    parallel: bool
    residual_scale: float


class LayoutSolver:
    """Solves one block. `mixer` and `ffn` are the branches, all other calls of direct children may be norms."""

    def __init__(self, trace: Trace, layer: Call, mixer: Branch, ffn: Branch) -> None:
        self.trace, self.layer, self.mixer, self.ffn = trace, layer, mixer, ffn
        depth = layer.name.count(".") + 1
        branches = (*mixer.names, *ffn.names)
        self.norms = [
            call
            for call in trace.under(layer.name)
            if call.name.count(".") == depth and call.name not in branches and is_norm_like(call)
        ]

    def solve(self) -> Layout:
        """The layout; `Unexplained` with the equation that does not hold."""
        x, y = rows(self.layer.x), rows(self.layer.y)
        attention_norm, start = self._norm_before(self.mixer.x)
        if not same(start, x):
            raise self._odd_input(start, x)
        if (call := next((c for c in self.norms if same(rows(c.y), y)), None)) is not None and not same(
            rows(call.x), x
        ):
            what = (
                "normalises the residual stream itself at the end of the block, norm(x + branch); Archon's norms stand "
                "before or behind a branch"
            )
            raise Unexplained(call.name, what)
        mixer_post, mixed = self._norm_after(self.mixer.y)
        ffn_norm, read = self._norm_before(self.ffn.x)
        ffn_post, fed = self._norm_after(self.ffn.y)
        shares_norm = attention_norm is not None and ffn_norm is attention_norm
        parallel = same(read, x)
        if parallel:
            scale = self._residual(y, x, mixed + fed, "the parallel branches")
        else:
            scale = self._residual(read, x, mixed, "the mixer's branch")
            scale_ffn = self._residual(y, read, fed, "the feed-forward's branch")
            if abs(scale - scale_ffn) > 1e-4 * abs(scale):
                raise Unexplained(
                    self.layer.name,
                    f"scales its branches differently: mixer by {scale:.6g}, feed-forward by {scale_ffn:.6g}",
                )
        norms = {
            "attention_norm": attention_norm,
            "attention_post_norm": mixer_post,
            "ffn_norm": None if shares_norm else ffn_norm,
            "ffn_post_norm": ffn_post,
        }
        return Layout(norms, parallel, snapped_to_one(scale))

    def _norm_before(self, value: Tensor) -> tuple[Call | None, Tensor]:
        """The norm whose output this is, and what it reads."""
        for call in self.norms:
            if same(rows(call.y), rows(value)):
                return call, rows(call.x)
        return None, rows(value)

    def _norm_after(self, value: Tensor) -> tuple[Call | None, Tensor]:
        """The norm that reads this value, and what it gives."""
        for call in self.norms:
            if same(rows(call.x), rows(value)):
                return call, rows(call.y)
        return None, rows(value)

    def _residual(self, after: Tensor, before: Tensor, branch: Tensor, what: str) -> float:
        """s in after = before + s·branch."""
        if not after.shape == before.shape == branch.shape:
            shapes = [tuple(t.shape) for t in (before, branch, after)]
            raise Unexplained(self.layer.name, f"{what}: input, branch and sum have other shapes: {shapes}")
        stacked = torch.stack((before.flatten(), branch.flatten()), dim=1).double()
        (keep, scale) = torch.linalg.lstsq(stacked, after.flatten().double()[:, None]).solution[:, 0].tolist()
        error = mismatch(keep * before.double() + scale * branch.double(), after)
        if error > TOLERANCE or abs(keep - 1.0) > 1e-4:
            raise Unexplained(
                self.layer.name,
                f"{what}: the residual stream is not x + s·branch (best fit {keep:.6g}·x + {scale:.6g}·branch, error "
                f"{error:.1e}){self._others()}",
                {"x + s·branch": error},
            )
        return scale

    def _others(self) -> str:
        """What else a block holds that has several feed-forwards, or tensors of its own."""
        own = [
            name
            for name, _ in (
                *self.layer.module.named_parameters(recurse=False),
                *self.layer.module.named_buffers(recurse=False),
            )
        ]
        for name in self.mixer.names:
            module = self.trace.model.get_submodule(name)
            own += [f"{name.rpartition('.')[2]}.{p}" for p, _ in module.named_parameters(recurse=False)]
        feeds = [name.rpartition(".")[2] for name in self.ffn.names]
        if len(feeds) < 2 and not own:
            return ""
        return f"; besides its mixer and norms the block holds {', '.join([*feeds, *own])}"

    def _odd_input(self, got: Tensor, x: Tensor) -> Unexplained:
        """Why the mixer's input is not one of ours: what it is a multiple of, or the module that it comes from."""
        errors = {"input of the block": mismatch(got, x)}
        for call in self.norms:
            if is_multiple(rows(self.mixer.x), rows(call.y)):
                factor = ratio(rows(self.mixer.x), rows(call.y))
                return Unexplained(
                    self.layer.name, f"the mixer reads {factor:.6g} times the output of {call.name}", errors
                )
        for call in self.trace.under(self.layer.name):
            if call.name not in self.mixer.names and same(rows(call.y), rows(self.mixer.x)):
                what = f"{type(call.module).__name__} stands before the mixer and is not a normalisation"
                return Unexplained(call.name, what, errors)
        return Unexplained(self.layer.name, "the mixer reads neither the block's input nor a norm of it", errors)
