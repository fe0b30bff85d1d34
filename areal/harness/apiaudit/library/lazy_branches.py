# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A module's `__getattr__` that compares the name with literals: which names it hands out, and where it takes them from.

Understood is a function of imports and of `if` statements that test the name by `==` or `in`, raising for any other name.
Called by `lazy_names.py`.
"""

from __future__ import annotations

import ast

from areal.harness.apiaudit.library.sources import Sources


def branch_for(sources: Sources, module: str, name: str) -> list[ast.stmt] | None:
    """The statements that answer for a name; empty when it is surely refused, None when that cannot be told."""
    answers = [
        _answer(sources, module, definition.node, name) for definition in sources.definitions(module, "__getattr__")
    ]
    return answers[0] if len(answers) == 1 else None


def source_in(branch: list[ast.stmt], name: str) -> tuple[ast.ImportFrom, str] | None:
    """The import in a branch that binds what it returns, and the original name: the name itself, or `m` of `getattr(m, name)`."""
    nodes = [node for statement in branch for node in ast.walk(statement)]
    got = [holder for node in nodes if (holder := _getattr_holder(node))]
    for wanted in (name, *got):
        for node in nodes:
            for alias in node.names if isinstance(node, ast.ImportFrom) else []:
                if (alias.asname or alias.name) == wanted:
                    return node, alias.name
    return None


def _getattr_holder(node: ast.AST) -> str:
    """`m` of `getattr(m, name)`."""
    if not isinstance(node, ast.Call) or ast.unparse(node.func) != "getattr" or len(node.args) != 2:
        return ""
    return node.args[0].id if isinstance(node.args[0], ast.Name) else ""


def _answer(sources: Sources, module: str, node: ast.stmt, name: str) -> list[ast.stmt] | None:
    if not isinstance(node, ast.FunctionDef) or not node.args.args:
        return None
    parameter = node.args.args[0].arg
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    if not body or not isinstance(body[-1], ast.Raise):
        return None
    waiting = list(body[:-1])
    while waiting:
        statement = waiting.pop(0)
        if isinstance(statement, ast.Import | ast.ImportFrom):
            continue
        if not isinstance(statement, ast.If):
            return None
        holds = _holds(sources, module, statement.test, parameter, name)
        if holds is None:
            return None
        if holds:
            return [] if isinstance(statement.body[-1], ast.Raise) else statement.body
        waiting = [*statement.orelse, *waiting]
    return []


def _holds(sources: Sources, module: str, test: ast.expr, parameter: str, name: str) -> bool | None:
    """Whether a test on the parameter holds for a name."""
    if isinstance(test, ast.BoolOp):
        sides = [_holds(sources, module, value, parameter, name) for value in test.values]
        if None in sides:
            return None
        return any(sides) if isinstance(test.op, ast.Or) else all(sides)
    is_comparison = isinstance(test, ast.Compare) and len(test.ops) == 1 and ast.unparse(test.left) == parameter
    if not isinstance(test, ast.Compare) or not is_comparison:
        return None
    allowed = _strings(sources, module, test.comparators[0])
    if allowed is None or not isinstance(test.ops[0], ast.Eq | ast.In):
        return None
    return name in allowed


def _strings(sources: Sources, module: str, node: ast.expr) -> set[str] | None:
    if isinstance(node, ast.Name):
        found = [d.node for d in sources.definitions(module, node.id)]
        values = [each.value for each in found if isinstance(each, ast.Assign | ast.AnnAssign)]
        return _strings(sources, module, values[0]) if len(found) == 1 == len(values) and values[0] else None
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("frozenset", "set", "tuple") and len(node.args) == 1:
        return _strings(sources, module, node.args[0])
    if isinstance(node, ast.Dict):
        elements: list[ast.expr | None] = list(node.keys)
    elif isinstance(node, ast.List | ast.Tuple | ast.Set):
        elements = list(node.elts)
    else:
        elements = [node]
    if not all(isinstance(each, ast.Constant) and isinstance(each.value, str) for each in elements):
        return None
    return {str(each.value) for each in elements if isinstance(each, ast.Constant)}
