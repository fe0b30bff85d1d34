# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""From observed options of many configs to expressions over the config: a tree of dataclasses with source at its leaves.

Values that one expression gives at all points are that expression; others are split by a predicate. Simplest first: what did
not vary when any field was changed is a constant.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.terms import Terms, agree, find_number, find_predicate

MAX_DEPTH = 3


@dataclass(frozen=True)
class Leaf:
    """A constant or an expression."""

    code: str


@dataclass(frozen=True)
class Struct:
    """A dataclass of the vocabulary with a node for each field."""

    cls: type
    fields: dict[str, Node]


@dataclass(frozen=True)
class Choice:
    """`then` where the predicate holds, `other` elsewhere."""

    predicate: str
    then: Node
    other: Node


Node = Leaf | Struct | Choice


def explain(where: str, terms: Terms, index: Sequence[int], values: Sequence[Any], depth: int = 0) -> Node:
    """The node that gives `values` at the points `index`; `Unexplained` when none was found."""
    kinds = {type(v) for v in values if dataclasses.is_dataclass(v)}
    if not kinds:
        return _explain_plain(where, terms, index, values, depth)
    if len(kinds) == 1 and all(dataclasses.is_dataclass(v) for v in values):
        (cls,) = kinds
        return Struct(
            cls,
            {
                f.name: explain(f"{where}.{f.name}", terms, index, [v.__dict__[f.name] for v in values], depth)
                for f in dataclasses.fields(cls)
            },
        )
    first = next(type(v) for v in values if dataclasses.is_dataclass(v))
    return _split(where, terms, index, values, [isinstance(v, first) for v in values], depth)


def _explain_plain(where: str, terms: Terms, index: Sequence[int], values: Sequence[Any], depth: int) -> Node:
    if agree([values[0]] * len(values), values):
        return Leaf(constant(values))
    if all(isinstance(v, bool) for v in values):
        if (predicate := find_predicate(terms, index, values)) is not None:
            return Leaf(predicate.code)
        raise _unexplained(where, terms, index, values)
    if all(isinstance(v, str) for v in values):
        for term in [*terms.activations(), *terms.strings()]:
            if [term.values[n] for n in index] == list(values):
                return Leaf(term.code)
    elif (code := find_number(terms, index, values)) is not None:
        return Leaf(code)
    if any(v is None for v in values):
        return _split(where, terms, index, values, [v is not None for v in values], depth)
    return _split_anyhow(where, terms, index, values, depth)


def _split(
    where: str, terms: Terms, index: Sequence[int], values: Sequence[Any], is_first: Sequence[bool], depth: int
) -> Node:
    predicate = find_predicate(terms, index, is_first)
    if predicate is None:  # three conditions that hold together are not three of which one fails
        is_first = [not first for first in is_first]
        predicate = find_predicate(terms, index, is_first)
    if predicate is None or depth >= MAX_DEPTH:
        raise _unexplained(where, terms, index, values)
    sides = []
    for side in (True, False):
        picked = [(n, v) for n, v, first in zip(index, values, is_first) if first == side]
        sides.append(explain(where, terms, [n for n, _ in picked], [v for _, v in picked], depth + 1))
    return Choice(predicate.code, sides[0], sides[1])


def _split_anyhow(where: str, terms: Terms, index: Sequence[int], values: Sequence[Any], depth: int) -> Node:
    """The simplest predicate whose two sides each have an expression."""
    if depth >= MAX_DEPTH:
        raise _unexplained(where, terms, index, values)
    is_first = [agree([values[0]], [v]) for v in values]
    others = [v for v, first in zip(values, is_first) if not first]
    if agree([others[0]] * len(others), others):  # two constants
        return _split(where, terms, index, values, is_first, depth)
    for mask, predicate in _distinct_predicates(terms, index).items():
        is_first = [bool(mask >> n & 1) for n in index]
        if all(is_first) or not any(is_first):
            continue
        nodes = []
        for side in (True, False):
            picked = [(n, v) for n, v, first in zip(index, values, is_first) if first == side]
            code = _simple([n for n, _ in picked], [v for _, v in picked], terms)
            if code is None:
                break
            nodes.append(Leaf(code))
        if len(nodes) == 2:
            return Choice(predicate, nodes[0], nodes[1])
    if (found := _split_by_two(terms, index, values)) is not None:
        return found
    raise _unexplained(where, terms, index, values)


def _split_by_two(terms: Terms, index: Sequence[int], values: Sequence[Any]) -> Choice | None:
    """A constant where two predicates hold together (or one of them does), one term or another constant elsewhere."""
    for (p, p_code), (q, q_code) in combinations(_distinct_predicates(terms, index).items(), 2):
        for mask, code in ((p & q, f"{p_code} and {q_code}"), (p | q, f"{p_code} or {q_code}")):
            inside = [(n, v) for n, v in zip(index, values) if mask >> n & 1]
            outside = [(n, v) for n, v in zip(index, values) if not mask >> n & 1]
            if len(inside) < 2 or not outside or not agree([inside[0][1]] * len(inside), [v for _, v in inside]):
                continue
            other = _one_term([n for n, _ in outside], [v for _, v in outside], terms)
            if other is not None:
                return Choice(code, Leaf(constant([inside[0][1]])), Leaf(other))
    return None


def _distinct_predicates(terms: Terms, index: Sequence[int]) -> dict[int, str]:
    """The cheapest predicate for each set of points of `index` (as bits) that any of them picks."""
    scope = sum(1 << n for n in index)
    distinct: dict[int, str] = {}
    for predicate, mask in sorted(zip(terms.predicates, terms.masks), key=lambda pair: pair[0].cost):
        distinct.setdefault(mask & scope, predicate.code)
    return distinct


def _one_term(index: Sequence[int], values: Sequence[Any], terms: Terms) -> str | None:
    """A constant or one term as it is: cheap enough for every pair of predicates."""
    if agree([values[0]] * len(values), values):
        return constant(values)
    usable = terms.strings() if all(isinstance(v, str) for v in values) else terms.numbers
    found = (t.code for t in sorted(usable, key=lambda t: t.cost) if agree([t.values[n] for n in index], values))
    return next(found, None)


def _simple(index: Sequence[int], values: Sequence[Any], terms: Terms) -> str | None:
    if agree([values[0]] * len(values), values):
        return constant(values)
    if all(isinstance(v, str) for v in values):
        found = (t.code for t in terms.strings() if [t.values[n] for n in index] == list(values))
        return next(found, None)
    return find_number(terms, index, values)


def constant(values: Sequence[Any]) -> str:
    """Source of a constant; a measured float is rounded to the digits that it has."""
    value = values[0]
    if isinstance(value, float):
        for digits in range(1, 8):
            if agree([float(f"{value:.{digits}g}")] * len(values), values):
                return repr(float(f"{value:.{digits}g}"))
    return repr(value) if not isinstance(value, str) else f'"{value}"'


def is_default(cls: type, name: str, node: Node) -> bool:
    """Whether a node is the default of its field."""
    field = next(f for f in dataclasses.fields(cls) if f.name == name)
    if not isinstance(node, Leaf) or field.default is dataclasses.MISSING:
        return False
    return node.code == constant([field.default])


def _unexplained(where: str, terms: Terms, index: Sequence[int], values: Sequence[Any]) -> Unexplained:
    shown = {}
    for n, value in zip(index, values):
        shown.setdefault(str(value)[:120], terms.points[n].layer)
    return Unexplained(
        where, f"no expression over the config's fields gives its observed values ({', '.join(list(shown)[:4])})"
    )
