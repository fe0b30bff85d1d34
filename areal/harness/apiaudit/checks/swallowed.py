# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a function that takes `**kwargs` ever looks at a given keyword, followed through the calls it forwards them to."""

from __future__ import annotations

import ast
from dataclasses import replace

from areal.harness.apiaudit.library.resolver import Library
from areal.harness.apiaudit.library.signatures import KWARGS, NoSignature, Signature, signature_of
from areal.harness.apiaudit.library.symbols import Symbol, What

_MAX_FORWARDS = 4
"""Chains of `**kwargs` in real packages are at most this long; beyond, nothing is claimed."""
_NAMED_ACCESS = ("pop", "get", "setdefault")


def reads_keyword(library: Library, function: Symbol, keyword: str, depth: int = 0) -> bool | None:
    """True when something reads it, False when certainly nothing does, None when that cannot be told."""
    node = function.node
    if depth > _MAX_FORWARDS or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.args.kwarg is None:
        return None
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    inside = [child for statement in body for child in ast.walk(statement)]
    name = node.args.kwarg.arg
    if any(_accesses(child, name, keyword) for child in inside):
        return True
    is_mentioned = any(isinstance(child, ast.Constant) and child.value == keyword for child in inside)
    answers = [
        _through(library, function, call, keyword, depth)
        for call in inside
        if isinstance(call, ast.Call) and any(_spreads(k, name) for k in call.keywords)
    ]
    if True in answers:
        return True
    if is_mentioned or None in answers or _escapes(inside, name):
        return None
    return False


def _accesses(node: ast.AST, name: str, keyword: str) -> bool:
    """`kwargs.pop("x")`, `kwargs["x"]` and `"x" in kwargs`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _NAMED_ACCESS:
        holder, keys = node.func.value, node.args[:1]
    elif isinstance(node, ast.Subscript):
        holder, keys = node.value, [node.slice]
    elif isinstance(node, ast.Compare) and len(node.comparators) == 1:
        holder, keys = node.comparators[0], [node.left]
    else:
        return False
    is_key = any(isinstance(key, ast.Constant) and key.value == keyword for key in keys)
    return is_key and isinstance(holder, ast.Name) and holder.id == name


def _spreads(keyword: ast.keyword, name: str) -> bool:
    return keyword.arg is None and isinstance(keyword.value, ast.Name) and keyword.value.id == name


def _escapes(inside: list[ast.AST], name: str) -> bool:
    """Whether `kwargs` is used in other ways than by `**kwargs` and by reading single, literal keys."""
    harmless: set[int] = set()
    for child in inside:
        if isinstance(child, ast.Call):
            harmless |= {id(k.value) for k in child.keywords if _spreads(k, name)}
            is_access = isinstance(child.func, ast.Attribute) and child.func.attr in _NAMED_ACCESS
            if is_access and child.args and isinstance(child.args[0], ast.Constant):
                harmless.add(id(child.func.value))  # type: ignore[attr-defined]
        elif isinstance(child, ast.Subscript) and isinstance(child.slice, ast.Constant):
            harmless.add(id(child.value))
        elif isinstance(child, ast.Compare) and isinstance(child.left, ast.Constant):
            harmless |= {id(each) for each in child.comparators}
    return any(isinstance(c, ast.Name) and c.id == name and id(c) not in harmless for c in inside)


def _through(library: Library, function: Symbol, call: ast.Call, keyword: str, depth: int) -> bool | None:
    """Whether the call that `kwargs` is forwarded to takes the keyword."""
    target = _target(library, function, call.func)
    if target is None or not target.is_found:
        return None
    signature = signature_of(library, target)
    if isinstance(signature, NoSignature):
        return None
    if signature.get(keyword) is not None or keyword in signature.accepted:
        return True
    if not signature.has(KWARGS):
        return None  # the forwarded call would raise: something must take it out before, in a way not seen here
    return _next(library, signature, keyword, depth)


def _next(library: Library, signature: Signature, keyword: str, depth: int) -> bool | None:
    if signature.function is None:
        return None
    return reads_keyword(library, signature.function, keyword, depth + 1)


def _target(library: Library, function: Symbol, expression: ast.expr) -> Symbol | None:
    owner = function.owner
    if isinstance(expression, ast.Attribute):
        text = ast.unparse(expression.value)
        if text in ("self", "cls") and owner is not None:
            what = What.INSTANCE if text == "self" else What.CLASS
            return library.member(replace(owner, what=what), expression.attr)
        if text == "super()" and owner is not None:
            for base in library.classes.order(replace(owner, what=What.CLASS))[1:]:
                if base.what is What.EXTERNAL:
                    return None
                found = library.member(replace(base, what=What.INSTANCE), expression.attr)
                return found if found.is_found else None
            return None
    dotted = ast.unparse(expression)
    if dotted == "cls" and owner is not None:
        return replace(owner, what=What.CLASS)
    if not dotted.replace(".", "").replace("_", "").isalnum():
        return None
    found = library.in_module(function.module, dotted)
    return found if found.is_found else None
