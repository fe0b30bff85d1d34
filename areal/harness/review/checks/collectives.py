# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""R022: a collective that only some ranks of its group reach, so that the others wait for ever.

Reported is a collective, or a function of the same file that calls one, under a condition on the rank, after a return, continue
or raise under one, in a loop whose length depends on it, or in the handler of an exception that only some may meet. A condition
whose branches call the same collectives is fine, and so is membership in the group that is passed.
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
_COLLECTIVE = re.compile(rf"\b(?:{NAMES.pattern}|{GENERAL_NAMES.pattern})\(")
_ABOUT = re.compile(r"rank|except\b")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
LEAVES = (ast.Return, ast.Continue, ast.Break, ast.Raise)


@dataclass(frozen=True)
class _Divide:
    """A condition that ranks decide differently."""

    line: int
    text: str
    is_membership: bool


def rank_dependent_collectives(change: Change) -> Iterator[Finding]:
    """R022."""
    for file in change.files:
        if (
            file.is_python
            and file.added
            and file.new_tree is not None
            and _ABOUT.search(file.new_text)
            and _COLLECTIVE.search(file.new_text)
        ):
            helpers = _helpers(file.new_tree)
            for function in _functions(file.new_tree):
                for call, divide in _Walk(helpers, _decided_names(function)).divided(function.body):
                    if {call.lineno, divide.line} & file.added_numbers:
                        yield _finding(file, call, divide)


def _finding(file: ChangedFile, call: ast.Call, divide: _Divide) -> Finding:
    name = ast.unparse(call.func)
    message = f"{name} is reached only by ranks for which `{divide.text}` (line {divide.line}) holds"
    hint = "call it on every rank of the group, and let the condition choose what is sent"
    return Finding(code="R022", message=message, file=file.path, line=call.lineno, hint=hint)


@dataclass(frozen=True)
class _Walk:
    """The collectives of one function that stand under a divide: `helpers` call some, `decided` names hold a test of the rank."""

    helpers: frozenset[str]
    decided: frozenset[str]

    def divided(self, body: Sequence[ast.stmt], divide: _Divide | None = None) -> Iterator[tuple[ast.Call, _Divide]]:
        """Collectives of a block that stand under a divide, with it; inner functions are blocks of their own."""
        for index, statement in enumerate(body):
            if isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
                continue
            if isinstance(statement, ast.If) and self._answered_later(statement, body[index + 1 :]):
                continue
            if isinstance(statement, ast.If):
                yield from self._conditional(statement, divide)
                divide = divide or self._early_leave(statement)
                continue
            for block, inner in self._blocks_with_divides(statement, divide):
                yield from self.divided(block, inner)
            yield from self._in_expressions(statement, divide)

    def _blocks_with_divides(
        self, statement: ast.stmt, divide: _Divide | None
    ) -> Iterator[tuple[list[ast.stmt], _Divide | None]]:
        inner = divide
        if isinstance(statement, ast.While):
            inner = divide or self._divide(statement.test)
        elif isinstance(statement, ast.For) and _length_may_differ(statement.iter):
            inner = divide or self._divide(statement.iter)
        elif isinstance(statement, ast.Match) and not self._same(*_cases(statement)):
            inner = divide or self._divide(statement.subject)
        if isinstance(statement, ast.Try):
            for handler in statement.handlers:
                caught = "an exception" if handler.type is None else ast.unparse(handler.type)
                escapes = self._same(statement.body, handler.body)
                yield handler.body, divide or (None if escapes else _Divide(handler.lineno, f"except {caught}", False))
        yield from ((block, inner) for block in _blocks(statement))

    def _conditional(self, node: ast.If, divide: _Divide | None) -> Iterator[tuple[ast.Call, _Divide]]:
        found = divide or self._divide(node.test)
        if found is not None and divide is None and self._same(*_branches(node)):
            found = None
        for block in (node.body, node.orelse):
            yield from self.divided(block, found)
        yield from self._in_expressions(node, divide)

    def _early_leave(self, node: ast.If) -> _Divide | None:
        """The divide after `if rank != 0: return`: the rest is for the others only."""
        if node.body and isinstance(node.body[-1], LEAVES) and not node.orelse and not self._calls(node.body):
            found = self._divide(node.test)
            return found and _Divide(found.line, f"not ({found.text})", found.is_membership)
        return None

    def _answered_later(self, node: ast.If, rest: Sequence[ast.stmt]) -> bool:
        """Whether a branch that leaves calls the collectives that the others call in the rest of the block."""
        if node.orelse or not isinstance(node.body[-1], LEAVES):
            return False
        first, second = ({ast.unparse(call.func) for call in self._calls(block)} for block in (node.body, rest))
        return bool(first) and first == second

    def _in_expressions(self, statement: ast.stmt, divide: _Divide | None) -> Iterator[tuple[ast.Call, _Divide]]:
        """Collectives in the statement's own expressions: under `divide`, a conditional expression, or after `rank == 0 and`."""
        for expression in ast.iter_child_nodes(statement):
            for node in ast.walk(expression) if isinstance(expression, ast.expr) else ():
                if divide is not None:
                    if isinstance(node, ast.Call) and self._reaches(node) and not self._excused(node, divide):
                        yield node, divide
                elif isinstance(node, ast.IfExp) and (inner := self._divide(node.test)):
                    if not self._same([node.body], [node.orelse]):
                        yield from ((call, inner) for call in self._calls([node.body, node.orelse]))
                elif isinstance(node, ast.BoolOp) and (inner := self._divide(node.values[0])):
                    yield from ((call, inner) for call in self._calls(node.values[1:]))

    def _divide(self, test: ast.expr) -> _Divide | None:
        return _divide(test, self.decided)

    def _reaches(self, call: ast.Call) -> bool:
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) in ("self", "cls"):
            name = call.func.attr
        return name in self.helpers or _is_collective(call)

    def _excused(self, call: ast.Call, divide: _Divide) -> bool:
        is_helper = not _is_collective(call)
        in_group = any(keyword.arg in ("group", "mesh", "pg") for keyword in call.keywords)
        return divide.is_membership and (is_helper or in_group)

    def _calls(self, body: Sequence[ast.AST]) -> list[ast.Call]:
        return [node for item in body for node in ast.walk(item) if isinstance(node, ast.Call) and self._reaches(node)]

    def _same(self, *blocks: Sequence[ast.AST]) -> bool:
        names = [sorted(ast.unparse(call.func) for call in self._calls(block)) for block in blocks]
        return bool(names[0]) and all(other == names[0] for other in names)


def _length_may_differ(iterated: ast.expr) -> bool:
    """`range(...)` and slices; what else is iterated is taken to be as long on every rank."""
    if isinstance(iterated, ast.Call):
        return ast.unparse(iterated.func) == "range"
    return isinstance(iterated, ast.Subscript) and isinstance(iterated.slice, ast.Slice)


def _cases(node: ast.Match) -> list[list[ast.stmt]]:
    """The blocks of a match; one more, empty, where a value may meet no case."""
    takes_all = any(isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None for case in node.cases)
    return [*(case.body for case in node.cases), *([] if takes_all else [[]])]


def _branches(node: ast.If) -> list[list[ast.stmt]]:
    """The blocks of an if with its elifs; the last one is empty without an else."""
    if len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        return [node.body, *_branches(node.orelse[0])]
    return [node.body, node.orelse]


def _functions(tree: ast.Module) -> Iterator[ast.Module | ast.FunctionDef | ast.AsyncFunctionDef]:
    yield tree
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _helpers(tree: ast.Module) -> frozenset[str]:
    """Functions and methods of the file whose own body calls a collective that is not in a group they are given."""
    found = set()
    for function in _functions(tree):
        if isinstance(function, ast.Module):
            continue
        inside = [node for statement in function.body for node in _own_nodes(statement)]
        calls = [node for node in inside if isinstance(node, ast.Call) and _is_collective(node)]
        given = {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}
        if any(not (given & {"group", "mesh", "pg"}) for _ in calls):
            found.add(function.name)
    defined = [function.name for function in _functions(tree) if not isinstance(function, ast.Module)]
    return frozenset(name for name in found if defined.count(name) == 1)


def _own_nodes(statement: ast.AST) -> Iterator[ast.AST]:
    if not isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
        yield statement
        for child in ast.iter_child_nodes(statement):
            yield from _own_nodes(child)


def _decided_names(function: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef) -> frozenset[str]:
    """Names that hold the outcome of a test of the rank, such as `is_zero = dist.get_rank() == 0`."""
    names = set()
    for node in (inside for statement in function.body for inside in _own_nodes(statement)):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Compare | ast.BoolOp | ast.UnaryOp):
            targets = [target.id for target in node.targets if isinstance(target, ast.Name)]
            names |= set(targets) if _divide(node.value) is not None else set()
    return frozenset(names)


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    if isinstance(statement, ast.For | ast.AsyncFor | ast.While):
        yield from (statement.body, statement.orelse)
    elif isinstance(statement, ast.With | ast.AsyncWith):
        yield statement.body
    elif isinstance(statement, ast.Try):
        yield from (statement.body, statement.orelse, statement.finalbody)
    elif isinstance(statement, ast.Match):
        yield from (case.body for case in statement.cases)


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


def _divide(test: ast.expr, decided: frozenset[str] = frozenset()) -> _Divide | None:
    """The condition, if its truth depends on the rank; a comparison with None says only whether there is one."""
    for node in ast.walk(test):
        if isinstance(node, ast.Constant) and node.value in ("RANK", "LOCAL_RANK"):  # of the environment
            return _Divide(test.lineno, ast.unparse(test), False)
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
            continue
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        is_rank = RANK.fullmatch(name) and not SAME_ON_ALL.fullmatch(name.lstrip("_"))
        if (is_rank or (name in decided and isinstance(node, ast.Name))) and not _compared_with_none(test, node):
            membership = any(
                isinstance(n, ast.Compare) and any(isinstance(op, ast.In) for op in n.ops) for n in ast.walk(test)
            )
            return _Divide(test.lineno, ast.unparse(test), membership)
    return None


def _compared_with_none(test: ast.expr, name: ast.AST) -> bool:
    compares = (node for node in ast.walk(test) if isinstance(node, ast.Compare))
    return any(node.left is name and isinstance(node.ops[0], ast.Is | ast.IsNot) for node in compares)
