# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments to try on a function, by the types of its parameters and the constants of its source; values as source text."""

from __future__ import annotations

import ast
import inspect
import itertools
import random
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from areal.harness.scaffold.texts import limit_texts, matching

MAX_CANDIDATES = 400
MAX_TEXTS = 400
MAX_SOURCE_CHARS = 300
TEXTS = ["", "a", "ab c", "A-b_C", "12", "-3.5", "x=1", "naïve 東京", "a, b\nc", "  pad "]
INTS = [0, 1, 2, 3, -1, 7, 10, 100]
FLOATS = [0.0, 1.0, 0.5, -1.5, 2.25, 10.0, 1e-6]
SCALARS: dict[Any, list[Any]] = {
    bool: [False, True],
    str: TEXTS,
    int: INTS,
    float: FLOATS,
    bytes: [b"", b"ab", b"\x00\xff"],
    type(None): [None],
    Fraction: [Fraction(0), Fraction(1, 2), Fraction(-3)],
    Any: [0, "a", None, 1.5, [1, 2], {"a": 1}],
    object: [0, "a", None, [1, 2]],
}
EXACT = (bool, int, float, str, bytes, type(None))


class Untestable(Exception):
    """Why no arguments can be made up for a function."""


def constants_of(source: str) -> dict[type, list[Any]]:
    """Numbers and texts of a source: what its conditions compare with."""
    found: dict[type, list[Any]] = {str: [], int: [], float: []}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and type(node.value) in found:
            values = found[type(node.value)]
            if node.value not in values and len(str(node.value)) <= 40:
                values.append(node.value)
    return found


def pool(annotation: Any, constants: Mapping[type, list[Any]]) -> list[Any]:
    """Values of a type, the plain ones first; `Untestable` for a type that nothing is known about."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in SCALARS:
        return _distinct([*SCALARS[annotation], *_near(annotation, constants)])
    if origin in (typing.Union, types.UnionType):
        return _distinct(itertools.chain.from_iterable(pool(part, constants)[:12] for part in arguments))
    if origin is typing.Literal:
        return list(arguments)
    if origin in (list, Sequence, Iterable, tuple, set, frozenset) and arguments:
        return _collections(origin, arguments, constants)
    if origin in (dict, Mapping) and arguments:
        keys, values = (pool(part, constants)[:4] for part in arguments)
        return [{}, dict(zip(keys[1:2], values)), dict(zip(keys, values))]
    raise Untestable(f"no values are known for the type {inspect.formatannotation(annotation)}")


def _collections(origin: Any, arguments: tuple[Any, ...], constants: Mapping[type, list[Any]]) -> list[Any]:
    make = {Sequence: list, Iterable: list}.get(origin, origin)
    if origin is tuple and arguments[-1] is not Ellipsis:
        parts = [pool(part, constants)[:5] for part in arguments]
        return [tuple(values) for values in itertools.islice(itertools.product(*parts), 24)]
    items = pool(arguments[0], constants)
    shapes = [[], items[1:2], items[1:3], items[2:6], items[3:4] * 2, items[::-1][:3]]
    return [make(shape) for shape in shapes]


def _near(kind: Any, constants: Mapping[type, list[Any]]) -> list[Any]:
    if kind is int:
        return [value + step for value in constants[int] for step in (0, -1, 1)]
    if kind is float:
        return [float(value) for value in (*constants[float], *constants[int])]
    if kind is str:
        texts = constants[str]
        return [*texts, *(f"a{text}b" for text in texts), *(f"{text}12" for text in texts)]
    return []


def _distinct(values: Iterable[Any]) -> list[Any]:
    seen: dict[tuple[str, str], Any] = {}
    for value in values:
        seen.setdefault((type(value).__name__, repr(value)), value)
    return list(seen.values())


def candidates(function: Callable[..., Any], constants: Mapping[type, list[Any]]) -> list[tuple[Any, ...]]:
    """Argument tuples: all plain, each value of each parameter once, then random ones; the same in every process."""
    try:
        hints = typing.get_type_hints(function)
    except NameError as error:
        raise Untestable(f"its types are imported for type checkers alone ({error})") from None
    pools = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            if parameter.default is parameter.empty and parameter.kind is parameter.KEYWORD_ONLY:
                raise Untestable(f"its argument {parameter.name} is keyword-only")
            continue
        if parameter.name not in hints:
            raise Untestable(f"its argument {parameter.name} has no type")
        pools.append(pool(hints[parameter.name], constants))
    rng = random.Random(0)
    plain = tuple(values[min(1, len(values) - 1)] for values in pools)
    made = [plain]
    for index, values in enumerate(pools):
        made += [(*plain[:index], value, *plain[index + 1 :]) for value in values]
    made += [tuple(rng.choice(values) for values in pools) for _ in range(MAX_CANDIDATES if len(pools) > 1 else 0)]
    places = [index for index, value in enumerate(plain) if type(value) is str]
    pieces = _pieces(constants[str])
    fitting = [*matching(constants[str]), *limit_texts(constants[int])]
    for index in places:
        made += [(*plain[:index], text, *plain[index + 1 :]) for text in fitting]
    pieces += matching(constants[str], 1)
    for _ in range(MAX_TEXTS if places else 0):
        values = [rng.choice(choices) for choices in pools]
        for index in places:
            values[index] = "".join(rng.choices(pieces, k=rng.randint(1, 6)))
        made.append(tuple(values))
    return _distinct(made)[: MAX_CANDIDATES + 2 * MAX_TEXTS]


def _pieces(texts: Iterable[str]) -> list[str]:
    """What texts are put together from: the words and signs of the source's own texts, numbers, letters, spaces."""
    found = ["12", "3", "-", ".", " ", "\n", "a", "B", ",", "1234", "{", "}", "(", ")", "0", "東"]
    for text in texts:
        found += [text, *re.findall(r"\w+|[^\w\s]", re.sub(r"\\[a-zA-Z]", "", text))]
    return _distinct(found)


def source_of(value: Any) -> str | None:
    """A value as source text that gives it back exactly; None where there is no short one."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if not _is_plain(value):
        return None
    text = repr(value)
    return text if len(text) <= MAX_SOURCE_CHARS else None


def _is_plain(value: Any) -> bool:
    if type(value) in (list, tuple, set, frozenset):
        return all(map(_is_plain, value)) and not (type(value) in (set, frozenset) and len(value) > 1)
    if type(value) is dict:
        return all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    if type(value) is float:
        return value == value and abs(value) != float("inf")
    return type(value) in EXACT
