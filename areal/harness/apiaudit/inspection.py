# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Looks at a release without auditing: one symbol, or what changed between two releases of what we use."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from areal.harness.apiaudit.errors import UnknownName
from areal.harness.apiaudit.library.resolver import Library
from areal.harness.apiaudit.library.signatures import NoSignature, Signature, signatures_of
from areal.harness.apiaudit.library.symbols import Symbol, What


def show(library: Library, chain: str) -> dict[str, Any]:
    """What a symbol is at a release: where it is defined, signature, bases, members, first line of its docstring."""
    symbol = library.resolve(chain)
    if symbol.what is What.MISSING:
        name = chain.rpartition(".")[2]
        choices = library.moved_to(name)
        raise UnknownName(f"{chain}: {symbol.note}", code="unknown_symbol", choices=choices)
    told: dict[str, Any] = {"symbol": chain, "what": symbol.what.value, "defined_in": symbol.path}
    if not symbol.is_found:
        return told | {"reason": symbol.note}
    shown = [describe(each) for each in signatures_of(library, symbol)] if symbol.what is not What.MODULE else []
    told["signatures"] = shown
    if symbol.what in (What.CLASS, What.INSTANCE):
        told["bases"] = [base.path for base in library.classes.order(symbol)[1:]]
        told["members"] = _public_members(symbol)
    if symbol.what is What.MODULE:
        told["members"] = sorted(name for name in library.sources.names(symbol.module) if not name.startswith("_"))
    told["docstring"] = _first_line(symbol)
    if symbol.also:
        told["also_defined_in"] = [each.path for each in symbol.also]
    return told


def describe(signature: Signature | NoSignature) -> str:
    """A signature, or why it is unknown."""
    return f"unknown: {signature.reason}" if isinstance(signature, NoSignature) else str(signature)


def _public_members(symbol: Symbol) -> list[str]:
    if not isinstance(symbol.node, ast.ClassDef):
        return []
    named = [each.name for each in symbol.node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    return sorted({name for name in named if not name.startswith("_")})


def _first_line(symbol: Symbol) -> str:
    node = symbol.node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return (ast.get_docstring(node) or "").strip().split("\n")[0]
    return ""


def differences(old: Library, new: Library, chains: Iterable[str]) -> list[dict[str, Any]]:
    """For each chain whose place, kind or signature differs: both sides."""
    changed = []
    for chain in sorted(set(chains)):
        before, after = _state(old, chain), _state(new, chain)
        if before != after:
            changed.append({"symbol": chain, "old": before, "new": after})
    return changed


def _state(library: Library, chain: str) -> dict[str, Any]:
    symbol = library.resolve(chain)
    if not symbol.is_found:
        return {"what": symbol.what.value}
    state: dict[str, Any] = {"what": symbol.what.value, "defined_in": symbol.path}
    if symbol.what in (What.CLASS, What.FUNCTION, What.INSTANCE):
        state["signatures"] = [describe(each) for each in signatures_of(library, symbol)]
    return state


def public_chains(library: Library, prefixes: Iterable[str]) -> list[str]:
    """Every public top-level name of every public module under the prefixes; for `diff` without `--used`."""
    chains = []
    for module, path in library.sources.files.items():
        inside = any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)
        if path is None or not inside or any(part.startswith("_") for part in module.split(".")):
            continue
        for name in library.sources.names(module):
            definitions = library.sources.definitions(module, name)
            if not name.startswith("_") and any(
                isinstance(d.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for d in definitions
            ):
                chains.append(f"{module}.{name}")
    return chains
