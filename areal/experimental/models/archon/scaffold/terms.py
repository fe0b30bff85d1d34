# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Candidate expressions over a config: Python source together with its value at every observed point.

A point is a config, or a layer of a config. The source is what `source` writes, so what was fitted is what will run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from areal.experimental.models.archon.base import UnsupportedConfig
from areal.experimental.models.archon.hf_config import activation, rounded_up
from areal.experimental.models.archon.hf_fields import HFFields
from areal.experimental.models.archon.modules.rope_frequencies import yarn_mscale

FLOAT_TOLERANCE = 1e-4
"""Relative: options such as scales are measured from fp32 values."""
_SKIPPED = frozenset({"vocab_size", "max_position_embeddings", "num_hidden_layers"})


@dataclass(frozen=True)
class Term:
    """Source and values (one a point); `cost` orders by simplicity."""

    code: str
    values: tuple[Any, ...]
    cost: int


@dataclass(frozen=True)
class Point:
    """Where a value was observed: the fields of a config, the same as `HFFields`, and the layer (None: whole model)."""

    fields: Mapping[str, Any]
    hf: HFFields
    layer: int | None


class Terms:
    """Everything that can be computed at some points, simplest first. `extra` are local names with their values."""

    def __init__(self, points: Sequence[Point], extra: Iterable[Term] = ()) -> None:
        self.points = points
        self.names = sorted({name for point in points for name in point.fields})
        self.extra = list(extra)
        self.numbers = [*self.extra, *self._numbers()]
        self.predicates = list(self._predicates())
        self.masks = [_mask(term.values) for term in self.predicates]

    def term(self, code: str, cost: int, value: Callable[[Point], Any]) -> Term:
        """A term of a function of points."""
        return Term(code, tuple(value(point) for point in self.points), cost)

    def _numbers(self) -> Iterator[Term]:
        for name in self.names:
            values = [point.fields.get(name) for point in self.points]
            missing = any(name not in point.fields for point in self.points)
            code = f'hf("{name}", None)' if missing else f'hf("{name}")'
            if all(v is None or isinstance(v, int | float) for v in values) and any(v is not None for v in values):
                yield Term(code, tuple(values), 1)
            elif all(_is_layer_list(v, point) for v, point in zip(values, self.points)):
                yield Term(f"{code}[i]", tuple(v[point.layer] for v, point in zip(values, self.points)), 2)
        yield from self._rope_numbers()

    def _rope_numbers(self) -> Iterator[Term]:
        """Entries of `rope_parameters`, and the factor that yarn's rule gives attention scores (DeepSeek)."""

        def mscale(point: Point) -> float:
            table = point.fields.get("rope_parameters") or {}
            if not isinstance(table.get("factor"), float | int) or not table.get("mscale_all_dim"):
                return 1.0
            return yarn_mscale(table["factor"], table["mscale_all_dim"]) ** 2

        tables = [point.fields.get("rope_parameters") or {} for point in self.points]
        for name in tables[0] if tables else ():
            if all(isinstance(t.get(name), int | float) and not isinstance(t[name], bool) for t in tables):
                yield Term(f'hf("rope_parameters")["{name}"]', tuple(t[name] for t in tables), 3)
        term = self.term("yarn_score_factor(hf)", 3, mscale)
        if len(set(term.values)) > 1:
            yield term

    def activations(self) -> Iterator[Term]:
        """Fields that name activations."""
        for name in self.names:
            values = []
            for point in self.points:
                try:
                    values.append(activation(point.hf, name) if isinstance(point.fields.get(name), str) else None)
                except UnsupportedConfig:
                    values.append(None)
            if all(v is not None for v in values):
                yield Term("activation(hf)" if name == "hidden_act" else f'activation(hf, "{name}")', tuple(values), 1)

    def strings(self) -> Iterator[Term]:
        """Fields that hold strings, for each layer or all."""
        for name in self.names:
            values = [point.fields.get(name) for point in self.points]
            if all(isinstance(v, str) for v in values):
                yield Term(f'hf("{name}")', tuple(values), 1)
            elif all(_is_layer_list(v, p) and isinstance(v[0], str) for v, p in zip(values, self.points)):
                yield Term(f'hf("{name}")[i]', tuple(v[p.layer] for v, p in zip(values, self.points)), 2)

    def _predicates(self) -> Iterator[Term]:
        for name in self.names:
            values = [point.fields.get(name) for point in self.points]
            code = f'hf("{name}")' if all(name in p.fields for p in self.points) else f'hf("{name}", None)'
            if all(isinstance(v, bool | None) for v in values):
                yield Term(code, tuple(bool(v) for v in values), 1)
                yield Term(f"not {code}", tuple(not v for v in values), 2)
            elif all(isinstance(v, str | None) for v in values):
                for choice in dict.fromkeys(v for v in values if v is not None):
                    yield Term(f'{code} == "{choice}"', tuple(v == choice for v in values), 2)
                    yield Term(f'{code} != "{choice}"', tuple(v != choice for v in values), 3)
            elif all(v is None or isinstance(v, int | float) for v in values):
                yield from self._of_number(code, values)
            elif all(isinstance(v, list | None) for v in values):
                yield from self._of_list(code, values)
        if self.points and self.points[0].layer is not None:
            yield self.term("i % 2 == 0", 6, lambda p: p.layer % 2 == 0)  # type: ignore[operator]
            yield self.term("i % 2 == 1", 6, lambda p: p.layer % 2 == 1)  # type: ignore[operator]
            yield self.term("i == 0", 6, lambda p: p.layer == 0)
            yield self.term("i > 0", 6, lambda p: (p.layer or 0) > 0)

    def _of_number(self, code: str, values: Sequence[Any]) -> Iterator[Term]:
        if any(v is None for v in values):
            yield Term(f"{code} is not None", tuple(v is not None for v in values), 2)
            yield Term(f"{code} is None", tuple(v is None for v in values), 2)
        yield Term(f"bool({code})", tuple(bool(v) for v in values), 3)
        yield Term(f"not {code}", tuple(not v for v in values), 3)
        if not all(isinstance(v, int) and not isinstance(v, bool) for v in values):
            return
        yield Term(f"{code} > 1", tuple(v > 1 for v in values), 3)
        yield Term(f"{code} == 1", tuple(v == 1 for v in values), 2)
        if self.points[0].layer is None:
            return
        layers = [point.layer or 0 for point in self.points]
        yield Term(f"i >= {code}", tuple(i >= v for i, v in zip(layers, values)), 2)
        yield Term(f"i < {code}", tuple(i < v for i, v in zip(layers, values)), 2)
        yield Term(f"i <= {code}", tuple(i <= v for i, v in zip(layers, values)), 4)
        if all(values):
            yield Term(f"(i + 1) % {code} == 0", tuple((i + 1) % v == 0 for i, v in zip(layers, values)), 3)
            yield Term(f"(i + 1) % {code} != 0", tuple((i + 1) % v != 0 for i, v in zip(layers, values)), 3)
            yield Term(f"i % {code} == 0", tuple(i % v == 0 for i, v in zip(layers, values)), 3)
            yield Term(f"i % {code} != 0", tuple(i % v != 0 for i, v in zip(layers, values)), 3)

    def _of_list(self, code: str, values: Sequence[Any]) -> Iterator[Term]:
        if self.points[0].layer is None:
            return
        layers = [point.layer or 0 for point in self.points]
        if all(v is not None and all(isinstance(x, int) for x in v) for v in values):
            yield Term(f"i in {code}", tuple(i in v for i, v in zip(layers, values)), 2)
            yield Term(f"i not in {code}", tuple(i not in v for i, v in zip(layers, values)), 2)
        if not all(_is_layer_list(v, point) for v, point in zip(values, self.points)):
            return
        entries = [v[i] for i, v in zip(layers, values)]
        if all(isinstance(e, str) for e in entries):
            for choice in dict.fromkeys(entries):
                yield Term(f'{code}[i] == "{choice}"', tuple(e == choice for e in entries), 1)
                yield Term(f'{code}[i] != "{choice}"', tuple(e != choice for e in entries), 2)
        else:
            yield Term(f"bool({code}[i])", tuple(bool(e) for e in entries), 2)
            yield Term(f"not {code}[i]", tuple(not e for e in entries), 2)


def find_predicate(terms: Terms, index: Sequence[int], wanted: Sequence[bool]) -> Term | None:
    """The simplest predicate with these values at some points: one term, or two joined."""
    scope = sum(1 << n for n in index)
    target = sum(1 << n for n, value in zip(index, wanted) if value)
    order = sorted(range(len(terms.predicates)), key=lambda n: terms.predicates[n].cost)
    for n in order:
        if terms.masks[n] & scope == target:
            return terms.predicates[n]
    best: Term | None = None
    for a, b in combinations(order, 2):
        p, q = terms.predicates[a], terms.predicates[b]
        if best is not None and p.cost + q.cost + 1 >= best.cost:
            continue
        if terms.masks[a] & terms.masks[b] & scope == target:
            best = Term(f"{p.code} and {q.code}", (), p.cost + q.cost + 1)
        elif (terms.masks[a] | terms.masks[b]) & scope == target:
            best = Term(f"{p.code} or {q.code}", (), p.cost + q.cost + 1)
    return best if best is not None else _of_three(terms, order, scope, target)


def _of_three(terms: Terms, order: Sequence[int], scope: int, target: int) -> Term | None:
    """p or (q and r), p and (q or r), p and q and r."""
    masks: dict[int, int] = {}
    for n in order:  # of equal predicates the simplest
        masks.setdefault(terms.masks[n] & scope, n)
    for p, n in masks.items():
        is_part = p | target == target and p
        if not is_part and p & target != target:
            continue
        for (q, a), (r, b) in combinations(masks.items(), 2):
            first, second, third = (terms.predicates[m].code for m in (n, a, b))
            if is_part and p | (q & r) == target:
                return Term(f"{first} or ({second} and {third})", (), 9)
            if not is_part and p & (q | r) == target:
                return Term(f"{first} and ({second} or {third})", (), 9)
            if not is_part and p & q & r == target:
                return Term(f"{first} and {second} and {third}", (), 9)
    return None


def find_number(terms: Terms, index: Sequence[int], wanted: Sequence[Any]) -> str | None:
    """The simplest expression with these values at some points."""
    usable = [t for t in terms.numbers if t.code.split('"')[1:2] != ["vocab_size"]]
    order = sorted(usable, key=lambda t: t.cost)
    for term in order:
        if agree([term.values[n] for n in index], wanted):
            return term.code
    numeric = [t for t in order if all(_is_number(t.values[n]) for n in index)]
    if not all(_is_number(v) for v in wanted):
        return _with_fallback(order, index, wanted)
    varying = [t for t in numeric if len({t.values[n] for n in index}) > 1]
    for code, values in _unary(varying, index):
        if (found := _scaled(code, values, wanted)) is not None:
            return found
    for code, values in _binary(varying, numeric, index):
        if agree(values, wanted):
            return code
    for code, values in _products(varying, index):
        if (found := _scaled(code, values, wanted)) is not None:
            return found
    for code, values in _rounded(varying, numeric, index):
        if agree(values, wanted):
            return code
    return _with_fallback(order, index, wanted)


def _rounded(
    varying: Sequence[Term], numeric: Sequence[Term], index: Sequence[int]
) -> Iterator[tuple[str, list[float]]]:
    """Two thirds of a size, times a factor, rounded up to a multiple: the width that LLaMA derives for a gate."""
    for multiple, size, factor in product((t for t in numeric if "multiple_of" in t.code), varying, numeric):
        rows = [(multiple.values[n], size.values[n], factor.values[n]) for n in index]
        if size is multiple or not all(isinstance(m, int) and m > 0 and isinstance(s, int) for m, s, _ in rows):
            continue
        code = f"rounded_up({factor.code} * int(2 * {size.code} / 3), {multiple.code})"
        yield code, [rounded_up(f * int(2 * s / 3), m) for m, s, f in rows]


def _with_fallback(order: Sequence[Term], index: Sequence[int], wanted: Sequence[Any]) -> str | None:
    """`a or b`: a field that may be missing or zero, and what stands in for it."""
    for a in order:
        pairs = [(a.values[n], value) for n, value in zip(index, wanted)]
        if all(x for x, _ in pairs) or not any(x for x, _ in pairs) or any(x and not _close(x, v) for x, v in pairs):
            continue
        rest = [(n, v) for (n, v), (x, _) in zip(zip(index, wanted), pairs) if not x]
        if agree([rest[0][1]] * len(rest), [v for _, v in rest]):
            return f"({a.code} or {rest[0][1]!r})"
        for b in order:
            if b is not a and agree([b.values[n] for n, _ in rest], [v for _, v in rest]):
                return f"({a.code} or {b.code})"
        positions, values = [n for n, _ in rest], [v for _, v in rest]
        numeric = [t for t in order if all(_is_number(t.values[n]) for n in positions)]
        for code, got in _binary(numeric, numeric, positions):
            if agree(got, values):
                return f"({a.code} or {code})"
    return None


def _unary(terms: Sequence[Term], index: Sequence[int]) -> Iterator[tuple[str, list[float]]]:
    for term in terms:
        yield term.code, [term.values[n] for n in index]
        values = [float(term.values[n]) for n in index]
        if all(v > 0 for v in values):
            yield f"{term.code} ** -0.5", [v**-0.5 for v in values]
            yield f"{term.code} ** 0.5", [v**0.5 for v in values]
            yield f"1 / {term.code}", [1 / v for v in values]


def _scaled(code: str, values: Sequence[float], wanted: Sequence[float]) -> str | None:
    """`code`, possibly times a constant."""
    if agree(values, wanted):
        return code
    if not all(values) or not any(wanted):
        return None
    factor = wanted[0] / values[0]
    is_whole = abs(factor - round(factor)) < 1e-6 * abs(factor)
    nice = round(factor) if is_whole else float(f"{factor:.6g}")
    if agree([v * (nice if is_whole else factor) for v in values], wanted):
        return f"{nice} * {code}"
    return None


def _binary(
    varying: Sequence[Term], numeric: Sequence[Term], index: Sequence[int]
) -> Iterator[tuple[str, list[float]]]:
    for a in varying:
        for b in numeric:
            if a is b:
                continue
            pairs = [(a.values[n], b.values[n]) for n in index]
            if all(isinstance(y, int) and y for _, y in pairs) and all(isinstance(x, int) for x, _ in pairs):
                yield f"{a.code} // {b.code}", [x // y for x, y in pairs]
            yield f"{a.code} * {b.code}", [x * y for x, y in pairs]
            yield f"{a.code} + {b.code}", [x + y for x, y in pairs]
            yield f"{a.code} - {b.code}", [x - y for x, y in pairs]
            if all(y for _, y in pairs):
                yield f"{a.code} / {b.code}", [x / y for x, y in pairs]
            if all(y > 0 for _, y in pairs):
                yield f"{a.code} / {b.code} ** 0.5", [x / math.sqrt(y) for x, y in pairs]
            if all(x > 0 and y > 0 for x, y in pairs):
                yield f"({a.code} + {b.code}) ** -0.5", [(x + y) ** -0.5 for x, y in pairs]
                yield f"({a.code} / {b.code}) ** -0.5", [(x / y) ** -0.5 for x, y in pairs]


def _products(varying: Sequence[Term], index: Sequence[int]) -> Iterator[tuple[str, list[float]]]:
    """x · y^-0.5 and (x + y)^-0.5 · z, with a constant allowed in front."""
    for a in varying:
        for b in varying:
            pairs = [(a.values[n], b.values[n]) for n in index]
            if a is not b and all(y > 0 for _, y in pairs):
                yield f"{a.code} * {b.code} ** -0.5", [x * y**-0.5 for x, y in pairs]
    for a, b in combinations(varying, 2):
        for c in varying:
            triples = [(a.values[n], b.values[n], c.values[n]) for n in index]
            if c is not a and c is not b and all(x > 0 and y > 0 for x, y, _ in triples):
                yield f"{c.code} * ({a.code} + {b.code}) ** -0.5", [z * (x + y) ** -0.5 for x, y, z in triples]


def agree(got: Sequence[Any], wanted: Sequence[Any]) -> bool:
    """Whether values are equal, floats up to `FLOAT_TOLERANCE`."""
    return all(_close(x, y) for x, y in zip(got, wanted, strict=True))


def _close(x: Any, y: Any) -> bool:
    if isinstance(x, bool) or isinstance(y, bool):
        return isinstance(x, bool) and isinstance(y, bool) and x == y
    if isinstance(y, int):  # a size is no rounded quotient
        return isinstance(x, int) and x == y
    if _is_number(x) and _is_number(y):
        return abs(x - y) <= FLOAT_TOLERANCE * max(abs(x), abs(y))
    return type(x) is type(y) and bool(x == y)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_layer_list(value: Any, point: Point) -> bool:
    return isinstance(value, list) and point.layer is not None and point.layer < len(value)


def _mask(values: Sequence[bool]) -> int:
    return sum(1 << n for n, value in enumerate(values) if value)
