# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Recognises conditions on the version or the presence of a package in our sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass

from areal.harness.apiaudit.usage import VersionTest

_OPERATORS = {ast.GtE: ">=", ast.LtE: "<=", ast.Gt: ">", ast.Lt: "<", ast.Eq: "==", ast.NotEq: "!="}
_MIRRORED = {">=": "<=", "<=": ">=", ">": "<", "<": ">", "==": "==", "!=": "!="}
_PARSERS = ("parse", "Version", "parse_version", "LooseVersion")
_PRESENCE = re.compile(r"\b(is_\w*available|hasattr|find_spec|has_\w+|HAS_\w+|HAVE_\w+)\b")
_MISSING_ERRORS = ("ImportError", "ModuleNotFoundError", "AttributeError")

ChainOf = Callable[[ast.expr], str | None]
"""The chain of third-party names that an expression stands for, None for anything else."""


@dataclass(frozen=True)
class _Side:
    package: str | None = None
    literal: str | None = None
    parsed: bool = False


def version_tests(test: ast.expr, chain_of: ChainOf, definition: Callable[[str], ast.expr | None]) -> list[VersionTest]:
    """The version comparisons in a condition that must hold for it to be true; names of earlier comparisons are followed."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return [found for part in test.values for found in version_tests(part, chain_of, definition)]
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = version_tests(test.operand, chain_of, definition)
        return negated(inner) if len(inner) == 1 else []
    if isinstance(test, ast.Name):
        value = definition(test.id)
        return version_tests(value, chain_of, definition) if isinstance(value, ast.Compare) else []
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and type(test.ops[0]) in _OPERATORS:
        return _from_comparison(test, chain_of)
    return []


def negated(tests: list[VersionTest]) -> list[VersionTest]:
    """The tests of the `else` branch; only a single comparison can be turned around."""
    if len(tests) != 1:
        return []
    (test,) = tests
    return [
        VersionTest(
            package=test.package,
            operator=test.operator,
            literal=test.literal,
            textual=test.textual,
            negated=not test.negated,
        )
    ]


def tests_presence(test: ast.expr) -> bool:
    """Whether a condition asks if something is installed or defined."""
    return bool(_PRESENCE.search(ast.unparse(test)))


def catches_missing(node: ast.Try) -> bool:
    """Whether a `try` survives that an import or attribute is missing."""
    return any(
        handler.type is not None and any(name in ast.unparse(handler.type) for name in _MISSING_ERRORS)
        for handler in node.handlers
    )


def _from_comparison(test: ast.Compare, chain_of: ChainOf) -> list[VersionTest]:
    left, right = _side(test.left, chain_of), _side(test.comparators[0], chain_of)
    operator = _OPERATORS[type(test.ops[0])]
    if left.literal is not None and right.package is not None:
        left, right, operator = right, left, _MIRRORED[operator]
    if left.package is None or right.literal is None:
        return []
    textual = not (left.parsed or right.parsed)
    return [VersionTest(package=left.package, operator=operator, literal=right.literal, textual=textual)]


def _side(node: ast.expr, chain_of: ChainOf, parsed: bool = False) -> _Side:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _Side(literal=node.value, parsed=parsed)
    chain = chain_of(node)
    if chain is not None and chain.endswith(".__version__"):
        return _Side(package=chain.removesuffix(".__version__"), parsed=parsed)
    if isinstance(node, ast.Call) and len(node.args) >= 1:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        if name == "str":
            return _side(node.args[0], chain_of, parsed)
        if name in _PARSERS:
            return _side(node.args[0], chain_of, parsed=True)
        if name == "version" and isinstance(node.args[0], ast.Constant):  # importlib.metadata.version("pkg")
            return _Side(package=str(node.args[0].value).replace("-", "_"), parsed=parsed)
    return _Side()
