# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What one node of our sources uses: imports, calls, attributes, patches, overrides, strings that name modules, guards."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from areal.harness.apiaudit.bindings import bound_names
from areal.harness.apiaudit.ours.calls import call_variants, string_arguments
from areal.harness.apiaudit.ours.scanner import FileScan, Place
from areal.harness.apiaudit.ours.scopes import FUNCTIONS, Bound, Scope
from areal.harness.apiaudit.usage import CallableShape, Kind, Usage

_IMPORTERS = {"import_module", "__import__", "find_spec", "patch", "import_from_string", "setattr", "delattr"}
"""Functions whose string arguments name modules or attributes; any other string is text."""
_RUNNERS = {
    "run",
    "create_task",
    "ensure_future",
    "gather",
    "wait_for",
    "run_until_complete",
    "run_coroutine_threadsafe",
}
"""Functions that await the coroutine they are given."""
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.\w+)+")


def usages_of(node: ast.AST, place: Place, scan: FileScan) -> Iterator[Usage]:
    """The usages of one node."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from _imports(node, place, scan)
    elif isinstance(node, ast.ExceptHandler):
        yield from _types(node.type, place, scan)
    elif isinstance(node, ast.Call):
        if ast.unparse(node.func) in ("isinstance", "issubclass") and len(node.args) == 2:
            yield from _types(node.args[1], place, scan)
        yield from _call(node, place, scan)
        yield from _strings(node, place, scan)
    elif isinstance(node, ast.Attribute):
        yield from _attribute(node, place, scan)
    elif isinstance(node, ast.ClassDef):
        yield from _class(node, place, scan)
    elif isinstance(node, ast.Compare):
        yield from _guard(node, place, scan)


def _usage(symbol: str, kind: Kind, node: ast.AST, place: Place, scan: FileScan, **more: Any) -> Usage:
    line = node.lineno if isinstance(node, ast.stmt | ast.expr) else 0
    return Usage(
        symbol=symbol,
        kind=kind,
        file=scan.file,
        qualname=place.scope.qualname,
        line=line,
        guarded=place.guarded,
        tests=place.tests,
        **more,
    )


def _imports(node: ast.Import | ast.ImportFrom, place: Place, scan: FileScan) -> Iterator[Usage]:
    if isinstance(node, ast.Import):
        names = [name.name for name in node.names]
    elif node.level:
        return
    else:
        names = [f"{node.module}.{name.name}" if name.name != "*" else str(node.module) for name in node.names]
    for name in names:
        if scan.chains.is_third_party(name):
            yield _usage(name, Kind.IMPORT, node, place, scan)


def _call(node: ast.Call, place: Place, scan: FileScan) -> Iterator[Usage]:
    chain = scan.chains.of(node.func, place.scope)
    if chain is None:
        return
    awaited = isinstance(place.parent(), ast.Await)
    handed_on = isinstance(around := place.parent(), ast.Call) and _last_name(around.func) in _RUNNERS
    target = place.parent(2 if awaited else 1)
    unpacks = _num_targets(target, node)
    for variant in call_variants(node, place, scan):
        usage = _usage(
            chain,
            Kind.CALL,
            node,
            place,
            scan,
            num_positional=sum(not isinstance(argument, ast.Starred) for argument in node.args),
            keywords=variant.keywords,
            open_call=variant.is_open,
            awaited=awaited or handed_on,
            unpacks=unpacks,
            context=_entered(place),
            strings=string_arguments(node),
        )
        yield replace(usage, tests=tuple(dict.fromkeys((*usage.tests, *variant.tests))))


def _last_name(function: ast.expr) -> str:
    return ast.unparse(function).rpartition(".")[2]


def _entered(place: Place) -> str:
    if not isinstance(place.parent(), ast.withitem):
        return ""
    return "__aenter__" if isinstance(place.parent(2), ast.AsyncWith) else "__enter__"


def _num_targets(statement: ast.AST | None, call: ast.Call) -> int | None:
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return None
    value = statement.value.value if isinstance(statement.value, ast.Await) else statement.value
    target = statement.targets[0]
    if value is not call or not isinstance(target, ast.Tuple | ast.List):
        return None
    return None if any(isinstance(element, ast.Starred) for element in target.elts) else len(target.elts)


def _attribute(node: ast.Attribute, place: Place, scan: FileScan) -> Iterator[Usage]:
    parent = place.parent()
    if isinstance(node.ctx, ast.Store):
        chain = scan.chains.of(node, place.scope)
        if chain is not None and isinstance(parent, ast.Assign) and not _is_own(node):
            yield _usage(chain, Kind.PATCH, node, place, scan, shape=_shape_of(parent.value, place.scope))
        return
    if isinstance(parent, ast.Attribute) or (isinstance(parent, ast.Call) and parent.func is node):
        return  # part of a longer chain, told there
    chain = scan.chains.of(node, place.scope)
    if chain is not None:
        yield _usage(chain, Kind.ATTRIBUTE, node, place, scan)


def _types(node: ast.expr | None, place: Place, scan: FileScan) -> Iterator[Usage]:
    for each in node.elts if isinstance(node, ast.Tuple) else [node]:
        chain = scan.chains.of(each, place.scope) if isinstance(each, ast.Name | ast.Attribute) else None
        if chain is not None:
            yield _usage(chain, Kind.TYPE, each or place.scope.node, place, scan)


def _is_own(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def _class(node: ast.ClassDef, place: Place, scan: FileScan) -> Iterator[Usage]:
    bases = scan.chains.bases(node, place.scope)
    for base in node.bases:
        chain = scan.chains.of(base.value if isinstance(base, ast.Subscript) else base, place.scope)
        if chain is not None:
            yield _usage(chain, Kind.SUBCLASS, node, place, scan, defines=_defined_in(node))
    known = [base for base in bases if base is not None]
    if len(known) != 1:
        return  # with several bases, which one a method overrides depends on their order
    for method in node.body:
        is_special = isinstance(method, FUNCTIONS) and method.name.startswith("__") and method.name.endswith("__")
        if isinstance(method, FUNCTIONS) and not is_special:
            inside = replace(place, scope=Scope(node, place.scope, node.name))
            yield _usage(f"{known[0]}.{method.name}", Kind.OVERRIDE, method, inside, scan, shape=shape_of(method))


def _defined_in(node: ast.ClassDef) -> tuple[str, ...]:
    """The names that a class binds; none where it is abstract itself or may inherit them from another base."""
    text = " ".join(ast.unparse(each) for each in (*node.bases, *node.keywords))
    methods = [each for each in node.body if isinstance(each, FUNCTIONS)]
    is_abstract = any("abstract" in ast.unparse(d) for method in methods for d in method.decorator_list)
    if len(node.bases) != 1 or "ABC" in text or is_abstract or not node.body:
        return ()
    return tuple(sorted({name for statement in node.body for name in bound_names(statement)} | {"__class__"}))


def _strings(node: ast.Call, place: Place, scan: FileScan) -> Iterator[Usage]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    if name not in _IMPORTERS:
        return
    strings = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    chain = scan.chains.of(node.args[0], place.scope) if node.args else None
    if name in ("setattr", "delattr") and chain is not None and len(strings) >= 1:
        shape = _shape_of(node.args[2], place.scope) if len(node.args) > 2 else None
        yield _usage(f"{chain}.{strings[0]}", Kind.PATCH, node, place, scan, shape=shape)
        return
    for text in strings[:1]:
        if _DOTTED.fullmatch(text) and scan.chains.is_third_party(text):
            yield _usage(text, Kind.STRING, node, place, scan)


def _guard(node: ast.Compare, place: Place, scan: FileScan) -> Iterator[Usage]:
    for test in scan.tests_of(node, place.scope):
        if scan.chains.is_third_party(test.package):
            usage = _usage(f"{test.package}.__version__", Kind.GUARD, node, place, scan)
            yield replace(usage, tests=(test,))


def _shape_of(value: ast.expr, scope: Scope) -> CallableShape | None:
    if not isinstance(value, ast.Name):
        return None
    found = scope.lookup(value.id)
    if found is None or len(found[1]) != 1 or found[1][0].how is not Bound.DEFINITION:
        return None
    node = found[1][0].node
    return shape_of(node) if isinstance(node, FUNCTIONS) else None


def shape_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> CallableShape:
    """The parameters of a function of ours."""
    arguments = node.args
    optional = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return CallableShape(
        positional=tuple(argument.arg for argument in (*arguments.posonlyargs, *arguments.args)),
        keyword_only=tuple(argument.arg for argument in arguments.kwonlyargs),
        num_defaults=len(arguments.defaults),
        optional_keyword_only=tuple(argument.arg for argument, default in optional if default is not None),
        takes_args=arguments.vararg is not None,
        takes_kwargs=arguments.kwarg is not None,
    )
