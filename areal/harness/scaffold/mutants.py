# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Small changes of a module that its tests should notice: comparisons, operators, constants, conditions, returns, calls.

Left alone is what no test should depend on: annotations, docstrings, texts of errors, log lines and trace labels.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
QUIET_CALLS = {
    "getLogger",
    "warning",
    "info",
    "debug",
    "error",
    "atrace_session_phase",
    "trace_scope",
    "scalar",
    "stat",
}
"""Calls whose arguments are names for people: logs, traces, statistics."""

Editor = Callable[[ast.AST], None]


@dataclass(frozen=True)
class Mutant:
    """A changed source, with the line and the words of the change."""

    line: int
    what: str
    source: str


def mutants(source: str) -> list[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    tree = ast.parse(source)
    sites = list(_sites(tree))
    found = []
    for path, what, edit in sites:
        changed = copy.deepcopy(tree)
        node = _at(changed, path)
        line = node.lineno if isinstance(node, (ast.expr, ast.stmt)) else 0
        edit(node)
        text = ast.unparse(ast.fix_missing_locations(changed))
        found.append(Mutant(line, what, text + "\n"))
    original = ast.unparse(tree) + "\n"
    return sorted((m for m in found if m.source != original), key=lambda m: (m.line, m.what))


Path = tuple[tuple[str, int | None], ...]


def _at(node: ast.AST, path: Path) -> ast.AST:
    for name, index in path:
        child = dict(ast.iter_fields(node))[name]
        node = child if index is None else child[index]
    return node


def _sites(tree: ast.Module) -> Iterator[tuple[Path, str, Editor]]:
    pending: list[tuple[ast.AST, Path]] = [(tree, ())]
    while pending:
        node, path = pending.pop()
        if _is_left_alone(node):
            continue
        yield from ((path, what, edit) for what, edit in _edits(node))
        for name, index, child in _children(node):
            pending.append((child, (*path, (name, index))))


def _children(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    skipped: set[str] = set()
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        skipped = {"returns", "decorator_list"}
    elif isinstance(node, (ast.arg, ast.AnnAssign)):
        skipped = {"annotation"}
    elif isinstance(node, ast.ClassDef):
        skipped = {"decorator_list", "bases"}
    for name, value in ast.iter_fields(node):
        if name in skipped:
            continue
        if isinstance(value, ast.AST):
            yield name, None, value
        elif isinstance(value, list):
            yield from ((name, index, item) for index, item in enumerate(value) if isinstance(item, ast.AST))


def _is_left_alone(node: ast.AST) -> bool:
    if isinstance(node, (ast.Raise, ast.Import, ast.ImportFrom, ast.JoinedStr)):
        return True
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # a docstring
    return isinstance(node, ast.Call) and _called(node) in QUIET_CALLS


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _edits(node: ast.AST) -> Iterator[tuple[str, Editor]]:
    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            other = COMPARISONS[type(operator)]
            yield f"{type(operator).__name__} -> {other.__name__}", _set_item("ops", index, other())
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in OPERATORS:
        other_op = OPERATORS[type(node.op)]
        yield f"{type(node.op).__name__} -> {other_op.__name__}", _set("op", other_op())
    elif isinstance(node, ast.BoolOp):
        other_bool = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield f"{type(node.op).__name__} -> {type(other_bool).__name__}", _set("op", other_bool)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "-x -> x", _set("op", ast.UAdd())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not x -> x", _set("operand", ast.UnaryOp(ast.Not(), node.operand))
    elif isinstance(node, (ast.If, ast.IfExp)):
        yield "condition negated", _set("test", ast.UnaryOp(ast.Not(), node.test))
        yield "condition never holds", _set("test", ast.Constant(False))
    elif isinstance(node, ast.Call):
        if len(node.args) == 1 and not node.keywords and not isinstance(node.args[0], ast.Starred):
            yield f"{ast.unparse(node.func)[:30]}(x) -> x", _set("func", ast.parse("lambda value: value").body[0].value)
    elif isinstance(node, ast.comprehension) and node.ifs:
        yield "filter of a comprehension dropped", _set("ifs", [])
    elif isinstance(node, ast.Return) and node.value is not None and ast.unparse(node.value) != "None":
        yield "returns None", _set("value", ast.Constant(None))
    elif isinstance(node, ast.Expr) and isinstance(node.value, (ast.Call, ast.Await)):
        if not (isinstance(node.value, ast.Call) and _called(node.value) in QUIET_CALLS | {"scalar"}):
            yield "call dropped", _set("value", ast.Constant(None))
    elif isinstance(node, ast.Constant):
        yield from _constant_edits(node)


def _constant_edits(node: ast.Constant) -> Iterator[tuple[str, Editor]]:
    value = node.value
    if isinstance(value, bool):
        yield f"{value} -> {not value}", _set("value", not value)
    elif isinstance(value, (int, float)):
        yield f"{value} -> {value + 1}", _set("value", value + 1)
    elif isinstance(value, str):
        yield f"{value[:20]!r} changed", _set("value", f"x{value}")


def _set(name: str, value: object) -> Editor:
    return lambda node: setattr(node, name, value)


def _set_item(name: str, index: int, value: object) -> Editor:
    return lambda node: dict(ast.iter_fields(node))[name].__setitem__(index, value)
