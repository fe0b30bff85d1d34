# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""R022: a collective that only some ranks of its group reach, so that the others wait for ever.

Reported is a collective under a condition on the rank, after a return or continue under one, or in a loop whose length depends
on it. A condition whose branches call the same collectives is fine, and so is membership in the group that is passed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from areal.harness.core.findings import Finding
from areal.harness.review.change import Change, ChangedFile

NAMES = re.compile(
    r"all_reduce\w*|all_gather\w*|reduce_scatter\w*|all_to_all\w*|gather_object|scatter_object_list|broadcast_object_list|"
    r"monitored_barrier|new_group|new_subgroups\w*|init_device_mesh|destroy_process_group|init_process_group|"
    r"gather_parts|gather_same|scatter_sum"
)
# Words that other libraries use too: only on a module or group of torch.distributed.
GENERAL_NAMES = re.compile(r"broadcast|barrier|gather|scatter|reduce")
OWNERS = re.compile(r"(?:torch\.)?(?:dist|distributed|funcol|c10d)|\w*(?:group|pg|mesh|topology)")
RANK = re.compile(
    r"(?:\w+_)?rank|is_(?:main|master|leader|chief|rank_?zero|rank0|first_rank|last_rank|src|head)\w*|get_(?:local_|group_)?rank|rank_?\d+"
)
SAME_ON_ALL = re.compile(r"(?:src|dst|source|root|owner|lora|matrix|max|min|num|last|first|target)_rank")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
LEAVES = (ast.Return, ast.Continue, ast.Break)


@dataclass(frozen=True)
class _Divide:
    """A condition that ranks decide differently."""

    line: int
    text: str
    is_membership: bool


def rank_dependent_collectives(change: Change) -> Iterator[Finding]:
    """R022."""
    for file in change.files:
        if file.is_python and file.added and file.new_tree is not None and "rank" in file.new_text:
            for function in _functions(file.new_tree):
                for call, divide in _divided(function.body):
                    if {call.lineno, divide.line} & file.added_numbers:
                        yield _finding(file, call, divide)


def _finding(file: ChangedFile, call: ast.Call, divide: _Divide) -> Finding:
    name = ast.unparse(call.func)
    message = f"{name} is reached only by ranks for which `{divide.text}` (line {divide.line}) holds"
    hint = "call it on every rank of the group, and let the condition choose what is sent"
    return Finding(code="R022", message=message, file=file.path, line=call.lineno, hint=hint)


def _functions(tree: ast.Module) -> Iterator[ast.Module | ast.FunctionDef | ast.AsyncFunctionDef]:
    yield tree
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _divided(body: Sequence[ast.stmt], divide: _Divide | None = None) -> Iterator[tuple[ast.Call, _Divide]]:
    """Collectives of a block that stand under a divide, with it; inner functions are blocks of their own."""
    for statement in body:
        if isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
            continue
        if isinstance(statement, ast.If):
            yield from _conditional(statement, divide)
            divide = divide or _early_leave(statement)
            continue
        inner = divide
        if isinstance(statement, ast.While):
            inner = divide or _divide(statement.test)
        elif isinstance(statement, ast.For) and isinstance(statement.iter, ast.Call):
            inner = divide or (_divide(statement.iter) if ast.unparse(statement.iter.func) == "range" else None)
        for block in _blocks(statement):
            yield from _divided(block, inner)
        yield from _in_expressions(statement, divide)


def _conditional(node: ast.If, divide: _Divide | None) -> Iterator[tuple[ast.Call, _Divide]]:
    found = divide or _divide(node.test)
    if found is not None and divide is None and _same_collectives(*_branches(node)):
        found = None
    for block in (node.body, node.orelse):
        yield from _divided(block, found)
    yield from _in_expressions(node, divide)


def _branches(node: ast.If) -> list[list[ast.stmt]]:
    """The blocks of an if with its elifs; the last one is empty without an else."""
    if len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        return [node.body, *_branches(node.orelse[0])]
    return [node.body, node.orelse]


def _early_leave(node: ast.If) -> _Divide | None:
    """The divide after `if rank != 0: return`: the rest is for the others only."""
    if node.body and isinstance(node.body[-1], LEAVES) and not node.orelse and not _calls(node.body):
        found = _divide(node.test)
        return found and _Divide(found.line, f"not ({found.text})", found.is_membership)
    return None


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    if isinstance(statement, ast.For | ast.AsyncFor | ast.While):
        yield from (statement.body, statement.orelse)
    elif isinstance(statement, ast.With | ast.AsyncWith):
        yield statement.body
    elif isinstance(statement, ast.Try):
        yield from (statement.body, statement.orelse, statement.finalbody, *(h.body for h in statement.handlers))
    elif isinstance(statement, ast.Match):
        yield from (case.body for case in statement.cases)


def _in_expressions(statement: ast.stmt, divide: _Divide | None) -> Iterator[tuple[ast.Call, _Divide]]:
    """Collectives in the statement's own expressions: under `divide`, a conditional expression, or after `rank == 0 and`."""
    for expression in ast.iter_child_nodes(statement):
        if not isinstance(expression, ast.expr):
            continue
        for node in ast.walk(expression):
            if (
                divide is not None
                and isinstance(node, ast.Call)
                and _is_collective(node)
                and not _excused(node, divide)
            ):
                yield node, divide
            elif divide is None and isinstance(node, ast.IfExp) and (inner := _divide(node.test)):
                if not _same_collectives([ast.Expr(node.body)], [ast.Expr(node.orelse)]):
                    yield from (
                        (call, inner) for branch in (node.body, node.orelse) for call in _calls([ast.Expr(branch)])
                    )
            elif divide is None and isinstance(node, ast.BoolOp) and (inner := _divide(node.values[0])):
                yield from ((call, inner) for value in node.values[1:] for call in _calls([ast.Expr(value)]))


def _excused(call: ast.Call, divide: _Divide) -> bool:
    return divide.is_membership and any(keyword.arg in ("group", "mesh", "pg") for keyword in call.keywords)


def _calls(body: Sequence[ast.AST]) -> list[ast.Call]:
    return [node for item in body for node in ast.walk(item) if isinstance(node, ast.Call) and _is_collective(node)]


def _same_collectives(*blocks: Sequence[ast.AST]) -> bool:
    names = [sorted(ast.unparse(call.func) for call in _calls(block)) for block in blocks]
    return bool(names[0]) and all(other == names[0] for other in names)


def _is_collective(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Name):
        return NAMES.fullmatch(call.func.id) is not None
    if not isinstance(call.func, ast.Attribute):
        return False
    if NAMES.fullmatch(call.func.attr):
        return True
    owner = ast.unparse(call.func.value)
    return (
        GENERAL_NAMES.fullmatch(call.func.attr) is not None
        and OWNERS.fullmatch(owner.split("(")[0].split(".")[-1]) is not None
    )


def _divide(test: ast.expr) -> _Divide | None:
    """The condition, if its truth depends on the rank; a comparison with None says only whether there is one."""
    for node in ast.walk(test):
        if isinstance(node, ast.Constant) and node.value in ("RANK", "LOCAL_RANK"):  # of the environment
            return _Divide(test.lineno, ast.unparse(test), False)
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
            continue
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        if RANK.fullmatch(name) and not SAME_ON_ALL.fullmatch(name.lstrip("_")) and not _compared_with_none(test, node):
            membership = any(
                isinstance(n, ast.Compare) and any(isinstance(op, ast.In) for op in n.ops) for n in ast.walk(test)
            )
            return _Divide(test.lineno, ast.unparse(test), membership)
    return None


def _compared_with_none(test: ast.expr, name: ast.AST) -> bool:
    compares = (node for node in ast.walk(test) if isinstance(node, ast.Compare))
    return any(node.left is name and isinstance(node.ops[0], ast.Is | ast.IsNot) for node in compares)
