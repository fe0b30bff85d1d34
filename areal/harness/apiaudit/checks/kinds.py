# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a name can still be used the way we use it: called, read, awaited, entered, instantiated, derived from.

`use_problems` judges one release alone; `kind_pairs` says what only the comparison with an earlier release shows, such as a
method that is now a property of unknown type. Called by `usages.py` and by the audit.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from areal.harness.apiaudit.checks.verdict import Problem
from areal.harness.apiaudit.library.resolver import Library
from areal.harness.apiaudit.library.symbols import Symbol, What
from areal.harness.apiaudit.library.values import own_returns, result_of, yields
from areal.harness.apiaudit.usage import Kind, Usage

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_LITERALS = (ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.JoinedStr)
_CALLABLE = re.compile(r"\b(Callable|type|Type|Any|Protocol|partial)\b")
_NOT_CALLABLE = re.compile(r"(int|float|str|bool|bytes|None|list|dict|set|tuple|List|Dict|Set|Tuple)\b(\[.*\])?")
_AWAITABLE = re.compile(r"\b(Awaitable|Coroutine|Future|Task)\b")
_SINGLE = re.compile(r"(int|float|bool|None)")
"""Annotations of results that are neither entered nor unpacked."""


def use_problems(usage: Usage, library: Library, symbol: Symbol) -> list[Problem]:
    """What is wrong with the use at this release, whatever it was before."""
    alternatives = symbol.alternatives
    if usage.kind is Kind.CALL:
        if all(_is_literal(each) and not _is_none(each) for each in alternatives):
            return [_kind_changed(usage, "a value", "we call it")]
        if all(_is_silent_instance(library, each) for each in alternatives):
            return [_kind_changed(usage, "an instance without __call__", "we call it")]
        abstract = [_abstract_if_made(library, each) for each in alternatives]
        if all(abstract):
            return [_abstract_problem(usage, abstract[0], "we make an instance")]
        if usage.context and all(_cannot_be_entered(library, each, usage.context) for each in alternatives):
            message = f"{usage.symbol}() gives nothing that `with` can enter"
            return [Problem(code="CONTEXT_CHANGED", key=usage.context, message=message, certain=not usage.inferred)]
    if usage.kind in (Kind.SUBCLASS, Kind.TYPE) and all(s.what in (What.FUNCTION, What.MODULE) for s in alternatives):
        use = "we derive a class from it" if usage.kind is Kind.SUBCLASS else "we use it as a class"
        return [_kind_changed(usage, f"a {symbol.what.value}", use)]
    return []


def kind_pairs(usage: Usage, before: Symbol, after: Symbol, old: Library, new: Library) -> Iterator[Problem]:
    """Breaks that show only against the earlier release; both symbols were found."""
    if usage.kind is Kind.CALL:
        yield from _called(usage, before, after)
    elif usage.kind is Kind.SUBCLASS and before.what is What.CLASS and after.what is What.CLASS and usage.defines:
        lacking = new.classes.abstract(after) - old.classes.abstract(before) - set(usage.defines)
        if lacking:
            yield _abstract_problem(usage, sorted(lacking), "our subclass does not define them")
    elif usage.kind in (Kind.ATTRIBUTE, Kind.IMPORT) and all(s.what is What.FUNCTION for s in after.alternatives):
        is_read = usage.kind is Kind.ATTRIBUTE and (before.note == "property" or _is_instance_attribute(before))
        was_value = all(s.what is What.ATTRIBUTE for s in before.alternatives) and (is_read or _is_literal(before))
        if was_value and not _may_be_callable(_annotation(before)):
            yield _kind_changed(usage, "a function now", "we read it as a value")


def _called(usage: Usage, before: Symbol, after: Symbol) -> Iterator[Problem]:
    if before.what not in (What.FUNCTION, What.CLASS):
        return
    if all(_is_literal(each) or _is_plain_property(each) for each in after.alternatives):
        what = "a property" if after.note == "property" else "a value"
        yield _kind_changed(usage, f"{what} now", "we call it")
        return
    if before.what is What.FUNCTION and after.what is What.FUNCTION and not after.also:
        yield from _awaited(usage, before.node, after.node)
    theirs = [_raising(each) for each in (before, after)]
    if theirs[1] and not theirs[0]:
        message = f"{usage.symbol}() only raises now: {theirs[1]}"
        yield Problem(code="NOW_RAISES", key=usage.symbol, message=message, certain=False)


def _awaited(usage: Usage, before: ast.AST | None, after: ast.AST | None) -> Iterator[Problem]:
    was, is_now = _is_coroutine(before), _is_coroutine(after)
    if is_now and not was and not usage.awaited:
        message = f"{usage.symbol}() is a coroutine now, we do not await it"
        yield Problem(code="ASYNC_CHANGED", key="async", message=message)
    if was and not is_now and usage.awaited and isinstance(after, ast.FunctionDef):
        may_wait = after.returns is not None and _AWAITABLE.search(ast.unparse(after.returns))
        if not may_wait and not any(isinstance(value, ast.Call | ast.Name) for value in own_returns(after)):
            message = f"{usage.symbol}() is no coroutine any more, we await it"
            yield Problem(code="ASYNC_CHANGED", key="plain", message=message)


def _is_coroutine(node: ast.AST | None) -> bool:
    if not isinstance(node, ast.AsyncFunctionDef) or yields(node):
        return False
    return not any("contextmanager" in ast.unparse(decorator) for decorator in node.decorator_list)


# ---------------------------------------------------------------- values
def _kind_changed(usage: Usage, what: str, use: str) -> Problem:
    message = f"{usage.symbol} is {what}, {use}"
    return Problem(code="KIND_CHANGED", key=what, message=message, certain=not usage.inferred)


def _annotation(symbol: Symbol) -> str:
    node = symbol.node
    annotation = node.annotation if isinstance(node, ast.AnnAssign) else None
    if isinstance(node, _Function):
        annotation = node.returns
    if annotation is None:
        return ""
    return str(annotation.value) if isinstance(annotation, ast.Constant) else ast.unparse(annotation)


def _is_literal(symbol: Symbol) -> bool:
    node = symbol.node
    if symbol.what is not What.ATTRIBUTE or not isinstance(node, ast.Assign | ast.AnnAssign):
        return False
    return isinstance(node.value, _LITERALS)


def _is_none(symbol: Symbol) -> bool:
    """`X = None`, which a module may replace at run time."""
    value = symbol.node.value if isinstance(symbol.node, ast.Assign | ast.AnnAssign) else None
    return isinstance(value, ast.Constant) and value.value is None


def _is_silent_instance(library: Library, symbol: Symbol) -> bool:
    return symbol.what is What.INSTANCE and library.classes.member(symbol, "__call__").what is What.MISSING


def _is_plain_property(symbol: Symbol) -> bool:
    return symbol.note == "property" and not _may_be_callable(_annotation(symbol))


def _may_be_callable(annotation: str) -> bool:
    return bool(_CALLABLE.search(annotation)) and _NOT_CALLABLE.fullmatch(annotation) is None


def _is_instance_attribute(symbol: Symbol) -> bool:
    return symbol.node is None and symbol.owner is not None


# ---------------------------------------------------------------- contexts, abstract classes, bodies
def _cannot_be_entered(library: Library, symbol: Symbol, method: str) -> bool:
    if symbol.what is What.CLASS:
        made = library.classes.member(result_of(library, symbol), method)
        return made.what is What.MISSING
    if symbol.what is not What.FUNCTION or not isinstance(symbol.node, _Function) or symbol.node.decorator_list:
        return False  # decorators are what makes functions enterable
    result = result_of(library, symbol)
    if result.what is What.INSTANCE:
        return library.classes.member(result, method).what is What.MISSING
    return yields(symbol.node) or bool(_SINGLE.fullmatch(_annotation(symbol)))


def _abstract_if_made(library: Library, symbol: Symbol) -> list[str]:
    if symbol.what is not What.CLASS or library.classes.has_own(symbol, "__new__"):
        return []
    return sorted(library.classes.abstract(symbol))


def _abstract_problem(usage: Usage, methods: list[str], use: str) -> Problem:
    message = f"{usage.symbol} has abstract methods ({', '.join(methods)}), {use}"
    return Problem(code="ABSTRACT_METHOD", key=",".join(methods), message=message)


def _raising(symbol: Symbol) -> str:
    """The exception that a function (or constructor) raises whatever it is given; empty for one that does something."""
    node = symbol.node
    if isinstance(node, ast.ClassDef):
        node = next((each for each in node.body if isinstance(each, _Function) and each.name == "__init__"), None)
    if not isinstance(node, _Function):
        return ""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    if len(body) != 1 or not isinstance(body[0], ast.Raise) or body[0].exc is None:
        return ""
    raised = ast.unparse(body[0].exc)
    is_interface = raised.startswith("NotImplementedError") and symbol.owner is not None
    return "" if is_interface else raised[:80]
