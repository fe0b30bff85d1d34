# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Checks what we put in the place of theirs: monkey patches and overridden methods."""

from __future__ import annotations

import ast
import re

from areal.harness.apiaudit.checks.verdict import Problem, Verdict
from areal.harness.apiaudit.library.resolver import Library
from areal.harness.apiaudit.library.symbols import Symbol, What
from areal.harness.apiaudit.usage import CallableShape, Kind, Usage


def check_replacement(usage: Usage, library: Library, symbol: Symbol) -> Verdict:
    """The verdict on a patch or override of a name that exists."""
    problems = _ineffective(usage, library, symbol) + _read_only(usage, library, symbol)
    if usage.shape is None and symbol.note == "property" and not problems:
        return Verdict(path=symbol.path)
    for candidate in symbol.alternatives:
        if usage.shape is None or candidate.what is not What.FUNCTION or candidate.node is None:
            continue
        found = compare_shapes(usage, usage.shape, candidate.node, is_method=candidate.owner is not None)
        if not found:
            return Verdict(problems=tuple(problems), path=symbol.path)
        return Verdict(problems=(*problems, *found), path=symbol.path)
    if usage.shape is None or problems:
        return Verdict(problems=tuple(problems), path=symbol.path)
    return Verdict(undecided="no source of what is replaced", path=symbol.path)


def _ineffective(usage: Usage, library: Library, symbol: Symbol) -> list[Problem]:
    owner, _, name = usage.symbol.rpartition(".")
    place = library.resolve(owner)
    if usage.kind.value != "patch" or place.what is not What.MODULE or not symbol.module:
        return []
    if symbol.module == place.module or symbol.what is What.MODULE:
        return []
    if _reads(library, place.module, name):
        return []
    message = (
        f"{usage.symbol} is only re-exported from {symbol.path}; nothing reads it there, so assigning it has no effect"
    )
    return [Problem(code="PATCH_INEFFECTIVE", key=symbol.path, message=message, moved_to=(symbol.path,))]


def _read_only(usage: Usage, library: Library, symbol: Symbol) -> list[Problem]:
    """Assigning to an instance's property without a setter, or to a field of a frozen dataclass."""
    owner, _, name = usage.symbol.rpartition(".")
    holder = library.resolve(owner)
    if usage.kind is not Kind.PATCH or holder.what is not What.INSTANCE or not isinstance(holder.node, ast.ClassDef):
        return []
    frozen = any("frozen=True" in ast.unparse(each) for each in holder.node.decorator_list)
    has_setter = any(
        ast.unparse(decorator) == f"{name}.setter" or "cached" in ast.unparse(decorator)
        for base in library.classes.order(holder)
        for statement in library.classes.own_statements(base, name)
        if isinstance(statement, ast.FunctionDef)
        for decorator in statement.decorator_list
    )
    if not frozen and (symbol.note != "property" or has_setter):
        return []
    why = "its class is frozen" if frozen else "it is a property without a setter"
    return [Problem(code="READ_ONLY", key=name, message=f"{usage.symbol} cannot be assigned: {why}")]


def _reads(library: Library, module: str, name: str) -> bool:
    """Whether the patched module itself, or one that goes through it, reads the name at run time."""
    sources = library.sources
    for node in ast.walk(sources.tree(module)):
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load):
            return True
    last = module.rpartition(".")[2]
    through = re.compile(rf"\b{re.escape(last)}\.{re.escape(name)}\b")
    lazily = re.compile(rf"^[ \t]+from {re.escape(module)} import .*\b{re.escape(name)}\b", re.MULTILINE)
    for other, path in sources.files.items():
        text = sources.text(other) if path is not None and other != module else ""
        if name in text and (through.search(text) or lazily.search(text)):
            return True
    return False


def compare_shapes(usage: Usage, ours: CallableShape, node: ast.AST, *, is_method: bool) -> list[Problem]:
    """What callers may pass to theirs that ours does not take, and what ours requires that they do not pass."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return []
    theirs = node.args
    positional = [argument.arg for argument in (*theirs.posonlyargs, *theirs.args)]
    named = [argument.arg for argument in theirs.kwonlyargs]
    is_static = any(ast.unparse(each) == "staticmethod" for each in node.decorator_list)
    first = 1 if is_method and not is_static else 0  # the receiver, whatever it is called
    mine, yours = ours.positional[first:], positional[first:]
    if len(mine) == len(yours) and not set(named) - {*ours.keyword_only, *mine}:
        return []  # same arity: names differ at most, as callers that pass by position do not notice
    taken = {*mine, *ours.keyword_only}
    problems = []
    lacking = [name for name in (*yours, *named) if name not in taken]
    if lacking and not ours.takes_kwargs and not (ours.takes_args and not named):
        message = f"{usage.symbol}: callers may pass {', '.join(lacking)}, which ours does not take"
        problems.append(Problem(code="PATCH_SIGNATURE", key="lacks " + ",".join(lacking), message=message))
    required = list(mine[: max(0, len(mine) - ours.num_defaults)])
    required += [name for name in ours.keyword_only if name not in ours.optional_keyword_only]
    takes_any = theirs.vararg is not None or theirs.kwarg is not None
    surplus = [name for name in required if name not in (*yours, *named)]
    if surplus and not takes_any and len(required) > len(yours):
        message = f"{usage.symbol}: ours requires {', '.join(surplus)}, which callers do not pass any more"
        problems.append(Problem(code="PATCH_SIGNATURE", key="requires " + ",".join(surplus), message=message))
    return problems
