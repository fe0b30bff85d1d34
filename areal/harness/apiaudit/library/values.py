# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What calls return and attributes hold, as far as annotations and constructor calls in the sources tell."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from areal.harness.apiaudit.library.symbols import Symbol, What, unknown

if TYPE_CHECKING:
    from areal.harness.apiaudit.library.resolver import Library

ENTERED = "context manager"
"""Note of what a `contextmanager` function gives, and of the method by which it is entered."""
_WRAPPERS = re.compile(r"(?:typing\.|t\.)?Optional\[(.+)\]|(.+?)\s*\|\s*None|None\s*\|\s*(.+)")


def result_of(library: Library, symbol: Symbol) -> Symbol:
    """What calling a symbol gives."""
    if symbol.what is What.CLASS:
        return replace(symbol, what=What.INSTANCE, also=())
    if symbol.what is What.FUNCTION and isinstance(symbol.node, ast.FunctionDef | ast.AsyncFunctionDef):
        if symbol.note == ENTERED:
            return _annotated(library, symbol, _yielded(symbol.node.returns))
        if any("contextmanager" in ast.unparse(d) for d in symbol.node.decorator_list):
            return replace(symbol, what=What.ATTRIBUTE, note=ENTERED)
        if symbol.node.returns is None and symbol.owner is not None and _returns_self(symbol.node):
            return replace(symbol.owner, what=What.INSTANCE, also=())
        return _annotated(library, symbol, symbol.node.returns)
    if symbol.what is What.INSTANCE:
        call = library.classes.member(symbol, "__call__")
        return result_of(library, call) if call.what is What.FUNCTION else unknown(f"{symbol.path}()", call.note)
    return unknown(f"{symbol.path}()", "result of a value")


def _yielded(annotation: ast.expr | None) -> ast.expr | None:
    """`X` of `Iterator[X]` or `Generator[X, None, None]`."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if not isinstance(annotation, ast.Subscript):
        return None
    return annotation.slice.elts[0] if isinstance(annotation.slice, ast.Tuple) else annotation.slice


def _returns_self(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    returned = own_returns(node)
    return bool(returned) and all(isinstance(value, ast.Name) and value.id == "self" for value in returned)


def own_returns(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.expr | None]:
    """What a function's own `return` statements give, those of functions inside left out."""
    return [child.value for child in _own_nodes(node) if isinstance(child, ast.Return)]


def yields(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it is a generator."""
    return any(isinstance(child, ast.Yield | ast.YieldFrom) for child in _own_nodes(node))


def _own_nodes(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    stack: list[ast.AST] = list(node.body)
    while stack:
        child = stack.pop()
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield child
            stack += ast.iter_child_nodes(child)


def value_of(library: Library, symbol: Symbol) -> Symbol:
    """The instance that an attribute or property holds, by its annotation or by the class it is made of."""
    node = symbol.node
    if isinstance(node, ast.FunctionDef):
        return _annotated(library, symbol, node.returns)
    if isinstance(node, ast.AnnAssign):
        found = _annotated(library, symbol, node.annotation)
        if found.is_found:
            return found
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name | ast.Attribute):
        made = library.in_module(symbol.module, ast.unparse(value.func))
        if made.what is What.CLASS:
            return replace(made, what=What.INSTANCE, also=())
    return unknown(symbol.path, "value of unknown type")


def _annotated(library: Library, symbol: Symbol, annotation: ast.expr | None) -> Symbol:
    """An instance of the class that an annotation in the symbol's module names."""
    path = f"{symbol.path}()"
    if annotation is None:
        return unknown(path, "no return annotation")
    text = annotation.value if isinstance(annotation, ast.Constant) else ast.unparse(annotation)
    text = str(text).strip("'\" ")
    match = _WRAPPERS.fullmatch(text)
    if match:
        text = next(group for group in match.groups() if group).strip("'\" ")
    if text.split(".")[-1] == "Self" and symbol.owner is not None:
        return replace(symbol.owner, what=What.INSTANCE)
    if not re.fullmatch(r"[A-Za-z_][\w.]*", text):
        return unknown(path, f"annotated {text}")
    found = library.in_module(symbol.module, text)
    if found.what is What.CLASS:
        return replace(found, what=What.INSTANCE, also=())
    if symbol.owner is not None and isinstance(found.node, ast.Assign) and "TypeVar(" in ast.unparse(found.node):
        return replace(symbol.owner, what=What.INSTANCE)  # `cls: type[T]` ... `-> T`
    return unknown(path, f"annotated {text}")
