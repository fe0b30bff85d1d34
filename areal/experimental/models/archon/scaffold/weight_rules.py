# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Finds the rules between our tensors and those of an HF state by their values, which are random and so unique.

One tensor may be another under a new name, transposed, with a dim of size one, one of a stack, or one of several in a fused
tensor. Names are generalised over layers and experts afterwards.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.weights.ops import (
    Chain,
    GroupedSplit,
    Interleave,
    Join,
    Op,
    Split,
    Stack,
    Transpose,
    Unsqueeze,
)
from areal.experimental.models.archon.weights.rules import Rule

_LAYER = re.compile(r"^layers\.(\d+)\.")
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


def infer_rules(ours: Mapping[str, Tensor], hf: Mapping[str, Tensor]) -> list[Rule]:
    """Rules, with wildcards, that read each of ours from the HF state and leave nothing of it over."""
    finder = _Finder(ours, hf)
    found = finder.run()
    if finder.missing:
        raise Unexplained("weights", f"no layout of the checkpoint's tensors gives ours {sorted(finder.missing)[:4]}")
    tied = {
        name
        for name in finder.left
        if any(torch.equal(hf[name], t) for t in ours.values() if t.shape == hf[name].shape)
    }
    if rest := sorted(finder.left.keys() - tied):
        raise Unexplained("weights", f"the checkpoint has tensors that nothing of ours reads: {rest[:4]}")
    return generalise(found)


class _Finder:
    """Matches tensors; `missing` and `left` are what remains of ours and of HF's."""

    def __init__(self, ours: Mapping[str, Tensor], hf: Mapping[str, Tensor]) -> None:
        self.ours = {name: t.detach().float().contiguous() for name, t in ours.items()}
        self.missing = dict(self.ours)
        self.left = {name: t.detach().float().contiguous() for name, t in hf.items() if t.is_floating_point()}
        self.rules: list[Rule] = []

    def run(self) -> list[Rule]:
        """All matches, alone before stacked before fused."""
        keys: dict[bytes, list[str]] = {}
        for name, t in self.left.items():
            keys.setdefault(_key(t), []).append(name)
        for name, t in list(self.missing.items()):
            for op, seen in _views(t):
                if matches := keys.get(_key(seen)):
                    self._take((name,), (matches.pop(0),), op)
                    break
        for name, t in list(self.missing.items()):
            self._match_stack(name, t, keys)
        for name, t in list(self.missing.items()):
            self._match_join(name, t)
        for name in list(self.left):
            if name in self.left:
                self._match_fused(name, self.left[name])
        return self.rules

    def _take(self, ours: tuple[str, ...], hf: tuple[str, ...], op: Op | None) -> None:
        self.rules.append(Rule(ours, hf, op))
        for name in ours:
            self.missing.pop(name, None)
        for name in hf:
            self.left.pop(name, None)

    def _match_stack(self, name: str, t: Tensor, keys: Mapping[bytes, Sequence[str]]) -> None:
        if t.ndim < 2:
            return
        for op in (None, Transpose(0, 1)) if t.ndim == 3 else (None,):
            parts = [part.transpose(0, 1).contiguous() if op is not None else part for part in t.unbind(0)]
            names = [keys.get(_key(part), [None])[0] for part in parts]
            if all(n is not None for n in names):
                stack: Op = Stack() if op is None else Chain((op, Stack()))
                self._take((name,), tuple(str(n) for n in names), stack)
                return

    def _match_join(self, name: str, t: Tensor) -> None:
        """Several of HF's, one after another along dim 0, are one of ours."""
        for op, seen in itertools.islice(_views(t), 2 + t.ndim):
            names: list[str] = []
            start = 0
            while start < len(seen):
                match = next((n for n, part in self.left.items() if _starts_with(seen[start:], part)), None)
                if match is None:
                    break
                names.append(match)
                start += len(self.left[match])
            if start == len(seen) and len(names) > 1:
                join = Join(tuple(len(self.left[n]) for n in names))
                self._take((name,), tuple(names), join if op is None else Chain((join, op)))
                return

    def _match_fused(self, name: str, t: Tensor) -> None:
        values = set(t.flatten().tolist())
        members = [n for n, part in self.missing.items() if set(part.flatten()[:3].tolist()) <= values]
        if not 2 <= len(members) <= 4:
            return
        for order in itertools.permutations(members):
            parts = [self.missing[n] for n in order]
            for op in itertools.chain(_fusions(parts), _grouped_in_parts(parts)):
                try:
                    got = op.to_hf(list(parts))[0]
                except RuntimeError:
                    continue
                if got.shape == t.shape and torch.equal(got, t):
                    self._take(tuple(order), (name,), op)
                    return


def _key(t: Tensor) -> bytes:
    return (
        bytes(str(tuple(t.shape)), "ascii")
        + t.contiguous().flatten()[:64].numpy().tobytes()
        + t.sum().numpy().tobytes()
    )


def _views(t: Tensor) -> Iterator[tuple[Op | None, Tensor]]:
    """Layouts in which HF may store one tensor of ours."""
    yield None, t
    for dim in range(t.ndim + 1):
        yield Unsqueeze(dim), t.unsqueeze(dim)
    if t.ndim == 2:
        yield Transpose(0, 1), t.T.contiguous()
    if t.ndim == 3:
        yield Transpose(1, 2), t.transpose(1, 2).contiguous()


def _fusions(parts: Sequence[Tensor]) -> Iterator[Op]:
    ndim = parts[0].ndim
    for dim in range(ndim):
        yield Split(dim)
        if len({part.shape for part in parts}) == 1:
            yield Interleave(dim)
    groups = min(part.shape[0] for part in parts)
    for num_groups in range(2, groups + 1):
        if all(part.shape[0] % num_groups == 0 for part in parts):
            yield GroupedSplit(num_groups)
    if ndim == 3:
        for dim in (1, 2):
            yield Chain((Transpose(1, 2), Split(dim)))
            yield Chain((Transpose(1, 2), Interleave(dim)))
    if ndim == 2:
        for dim in (0, 1):
            yield Chain((Transpose(0, 1), Split(dim)))


def _grouped_in_parts(parts: Sequence[Tensor]) -> Iterator[Op]:
    """[q | k | v] of ours and one as wide as v, stored together key head by key head."""
    if len(parts) != 2 or parts[0].ndim != 2:
        return
    keys, left = divmod(len(parts[0]) - len(parts[1]), 2)
    for num_groups in range(1, max(keys, 0) + 1):
        if not left and keys % num_groups == 0 and len(parts[1]) % num_groups == 0:
            yield GroupedSplit(num_groups, ((keys, keys, len(parts[1])), (len(parts[1]),)))


def _starts_with(t: Tensor, part: Tensor) -> bool:
    return part.ndim == t.ndim > 1 and len(part) <= len(t) and torch.equal(t[: len(part)], part)


def generalise(rules: Sequence[Rule]) -> list[Rule]:
    """Rules with `{i}` for layers, `{e}` for experts and `{p}` for weight and bias, each once."""
    general = list(dict.fromkeys(_with_wildcards(rule) for rule in rules))
    joined: list[Rule] = []
    ops = {(r.ours, r.hf): r.op for r in general}
    for rule in general:
        merged = _parts_joined(rule)
        other = (
            tuple(n[: -len("weight")] + "bias" for n in rule.ours),
            tuple(n[: -len("weight")] + "bias" for n in rule.hf),
        )
        if merged is None:
            joined.append(rule)
        elif rule.ours[0].endswith(".bias"):
            weight = (
                tuple(n[: -len("bias")] + "weight" for n in rule.ours),
                tuple(n[: -len("bias")] + "weight" for n in rule.hf),
            )
            if weight not in ops or ops[weight] != rule.op:
                joined.append(rule)
        elif ops.get(other, _NO_RULE) == rule.op or rule.ours[0] not in _NEVER_BIASED:
            joined.append(merged)
        else:
            joined.append(rule)
    return list(dict.fromkeys(joined))


_NO_RULE = object()
_NEVER_BIASED = ("tok_embeddings.weight",)


def _with_wildcards(rule: Rule) -> Rule:
    """A rule of one layer as a rule of all: our layer's number is the first one in the HF names that equals it."""
    ours = tuple(_LAYER.sub("layers.{i}.", name) for name in rule.ours)
    hf = list(rule.hf)
    if match := _LAYER.match(rule.ours[0]):
        hf = [re.sub(rf"(?<=\.){match[1]}(?=\.)", "{i}", name, count=1) for name in hf]
    if len(hf) > 1 and not _is_join(rule.op):
        patterns = {_NUMBER.sub("{e}", name, count=1) for name in hf}
        if len(patterns) != 1:
            raise Unexplained("weights", f"names of stacked tensors differ in more than a number: {hf[:3]}")
        hf = list(patterns)
    return replace(rule, ours=ours, hf=tuple(hf))


def _is_join(op: Op | None) -> bool:
    return isinstance(op, Join) or (isinstance(op, Chain) and isinstance(op.ops[0], Join))


def _parts_joined(rule: Rule) -> Rule | None:
    """The rule for weight and bias at once, where both sides end alike and the op does not care for dims."""
    if isinstance(rule.op, Transpose | Chain | Stack | Unsqueeze | Join):
        return None
    for part in ("weight", "bias"):
        if all(name.endswith(f".{part}") for name in (*rule.ours, *rule.hf)):
            cut = {name: name[: -len(part)] + "{p}" for name in (*rule.ours, *rule.hf)}
            return replace(rule, ours=tuple(cut[n] for n in rule.ours), hf=tuple(cut[n] for n in rule.hf))
    return None
