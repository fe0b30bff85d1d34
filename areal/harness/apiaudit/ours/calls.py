# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The keywords that a call of ours passes, `**` expansions included, one variant for each way a version test can go."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from areal.harness.apiaudit.ours.scanner import FileScan, Place
from areal.harness.apiaudit.ours.scopes import Bound
from areal.harness.apiaudit.ours.version_tests import negated
from areal.harness.apiaudit.usage import VersionTest


@dataclass(frozen=True)
class CallVariant:
    """Keywords passed when `tests` hold; `is_open` when more may be passed than we can see."""

    keywords: tuple[str, ...]
    is_open: bool
    tests: tuple[VersionTest, ...] = ()


@dataclass(frozen=True)
class _Choice:
    """A keyword whose name depends on a version test."""

    tests: tuple[VersionTest, ...]
    name: str


def call_variants(node: ast.Call, place: Place, scan: FileScan) -> Iterator[CallVariant]:
    """The ways in which a call passes keywords; one unless a keyword's name depends on a version."""
    names = [keyword.arg for keyword in node.keywords if keyword.arg is not None]
    is_open = any(isinstance(argument, ast.Starred) for argument in node.args)
    choices: list[tuple[_Choice, _Choice]] = []
    for keyword in node.keywords:
        if keyword.arg is not None:
            continue
        fields = dict_fields(keyword.value, place)
        if fields is None:
            is_open = True
            continue
        keys, is_closed = fields
        is_open = is_open or not is_closed
        for key in keys:
            if isinstance(key, ast.Constant):
                names.append(str(key.value))
            elif (choice := _choice(key, place, scan)) is not None:
                choices.append(choice)
            else:
                is_open = True
    keywords = tuple(dict.fromkeys(names))
    if len(choices) == 1:
        for side in choices[0]:
            yield CallVariant((*keywords, side.name), is_open, side.tests)
    else:
        yield CallVariant(keywords, is_open or bool(choices))


def dict_fields(node: ast.expr, place: Place) -> tuple[list[ast.expr], bool] | None:
    """The keys of a dict literal, or of the single literal that a local name is bound to; and whether there can be no more."""
    if isinstance(node, ast.Dict):
        keys = [key for key in node.keys if key is not None]
        return keys, len(keys) == len(node.keys)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        named = [keyword.arg for keyword in node.keywords if keyword.arg is not None]
        return [ast.Constant(name) for name in named], len(named) == len(node.keywords)
    if not isinstance(node, ast.Name):
        return None
    found = place.scope.lookup(node.id)
    if found is None or len(found[1]) != 1 or found[1][0].how is not Bound.VALUE:
        return None
    literal = found[1][0].node
    if not isinstance(literal, ast.Dict | ast.Call):
        return None
    fields = dict_fields(literal, place) if not isinstance(literal, ast.Name) else None
    if fields is None:
        return None
    added, is_only_spread = _later_keys(node.id, found[0].node)
    return [*fields[0], *added], fields[1] and is_only_spread


def _later_keys(name: str, scope_node: ast.AST) -> tuple[list[ast.expr], bool]:
    """Constant keys stored into a dict, and whether the name is otherwise only spread with `**`."""
    added: list[ast.expr] = []
    spread = {
        id(keyword.value)
        for call in ast.walk(scope_node)
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg is None
    }
    num_loads = 0
    for child in ast.walk(scope_node):
        if isinstance(child, ast.Assign):
            for target in child.targets:
                if (
                    isinstance(target, ast.Subscript)
                    and isinstance(target.value, ast.Name)
                    and target.value.id == name
                    and isinstance(target.slice, ast.Constant)
                    and isinstance(target.slice.value, str)
                ):
                    added.append(target.slice)
        if isinstance(child, ast.Name) and child.id == name and isinstance(child.ctx, ast.Load):
            num_loads += id(child) not in spread
    return added, num_loads == 0


def _choice(key: ast.expr, place: Place, scan: FileScan) -> tuple[_Choice, _Choice] | None:
    """`{"a" if VERSION TEST else "b": ...}`, directly or through a local name."""
    if isinstance(key, ast.Name):
        found = place.scope.lookup(key.id)
        if found is None or len(found[1]) != 1 or not isinstance(found[1][0].node, ast.expr):
            return None
        key = found[1][0].node
    if not isinstance(key, ast.IfExp):
        return None
    sides = (key.body, key.orelse)
    tests = scan.tests_of(key.test, place.scope)
    if not all(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in sides) or len(tests) != 1:
        return None
    first, second = (str(side.value) for side in sides if isinstance(side, ast.Constant))
    return _Choice(tuple(tests), first), _Choice(tuple(negated(tests)), second)


def string_arguments(node: ast.Call) -> tuple[tuple[str, str], ...]:
    """Arguments that are string literals, by keyword or index."""
    by_index = [
        (str(index), argument.value)
        for index, argument in enumerate(node.args)
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]
    is_fixed = not any(isinstance(argument, ast.Starred) for argument in node.args)
    return (*(by_index if is_fixed else ()), *_string_keywords(node))


def _string_keywords(node: ast.Call) -> tuple[tuple[str, str], ...]:
    return tuple(
        (keyword.arg, keyword.value.value)
        for keyword in node.keywords
        if keyword.arg is not None and isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str)
    )
