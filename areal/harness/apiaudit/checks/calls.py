# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Binds one call of ours against the signature of what it calls."""

from __future__ import annotations

import ast
import difflib
import re
from dataclasses import dataclass

from areal.harness.apiaudit.checks.swallowed import reads_keyword
from areal.harness.apiaudit.checks.verdict import NOTE, WARNING, Problem, Verdict
from areal.harness.apiaudit.library.fields import generated_signature
from areal.harness.apiaudit.library.resolver import Library
from areal.harness.apiaudit.library.signatures import (
    KWARGS,
    NAMED,
    VARARGS,
    NoSignature,
    Signature,
    signatures_of,
)
from areal.harness.apiaudit.library.symbols import Symbol, What
from areal.harness.apiaudit.library.values import result_of
from areal.harness.apiaudit.usage import Usage

_TUPLE = re.compile(r"(?:typing\.)?[Tt]uple\[(.*)\]", re.DOTALL)
_LITERAL = re.compile(r"(?:typing\.)?Literal\[([^\[\]]*)\]", re.DOTALL)
_NONE = re.compile(r"\s*\|\s*None|None\s*\|\s*")
_OPTIONAL = re.compile(r"(?:typing\.)?Optional\[(.*)\]", re.DOTALL)


_SINGLE = ("int", "float", "bool", "None")
"""Annotations of results that cannot be unpacked."""


@dataclass(frozen=True)
class _Bound:
    problems: list[Problem]
    doubts: list[str]


def check_call(usage: Usage, library: Library, symbol: Symbol, accepts: frozenset[str]) -> Verdict:
    """The verdict on a call; a name with several definitions is fine when one of them takes the call."""
    reasons: list[str] = []
    failures: list[Verdict] = []
    for candidate in symbol.alternatives:
        if _is_placeholder(candidate):
            continue
        if candidate.what is What.MODULE:
            failures.append(_not_callable(usage, candidate))
            continue
        signatures = signatures_of(library, candidate) if candidate.is_found else [NoSignature(candidate.note)]
        for signature in signatures:
            if isinstance(signature, NoSignature):
                reasons.append(signature.reason)
                continue
            bound = _bind(usage, library, signature, accepts)
            shown = str(signature)
            if not bound.problems:
                return Verdict(path=candidate.path, signature=shown, doubts=tuple(bound.doubts))
            failures.append(Verdict(problems=tuple(bound.problems), path=candidate.path, signature=shown))
    if reasons or not failures:
        return Verdict(undecided=reasons[0] if reasons else "nothing to call", path=symbol.path)
    return min(failures, key=lambda verdict: len(verdict.problems))


def _not_callable(usage: Usage, module: Symbol) -> Verdict:
    problem = Problem(code="KIND_CHANGED", key="module", message=f"{usage.symbol} is a module, we call it")
    return Verdict(problems=(problem,), path=module.path)


def _is_placeholder(symbol: Symbol) -> bool:
    """`X = None` where something optional is not installed."""
    node = symbol.node
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return False
    return isinstance(node.value, ast.Constant) and node.value.value is None


def _bind(usage: Usage, library: Library, signature: Signature, accepts: frozenset[str]) -> _Bound:
    problems: list[Problem] = []
    doubts: list[str] = []
    shown = str(signature)
    positional = signature.positional
    if usage.num_positional > len(positional) and not signature.has(VARARGS):
        message = f"{usage.symbol}() takes {len(positional)} positional arguments, we pass {usage.num_positional}"
        problems.append(
            Problem(code="TOO_MANY_POSITIONAL", key=str(usage.num_positional), message=message, signature=shown)
        )
    problems += _twice(usage, signature)
    for keyword in usage.keywords:
        if signature.get(keyword) is None and keyword not in accepts:
            _judge_keyword(usage, library, signature, keyword, problems, doubts)
    if not usage.open_call:
        problems += _missing_required(usage, signature)
    problems += _literals(usage, library, signature)
    problems += _result(usage, library, signature)
    return _Bound(problems, doubts)


def _judge_keyword(
    usage: Usage,
    library: Library,
    signature: Signature,
    keyword: str,
    problems: list[Problem],
    doubts: list[str],
) -> None:
    names = [parameter.name for parameter in signature.parameters if parameter.kind in NAMED]
    similar = tuple(difflib.get_close_matches(keyword, names, n=2, cutoff=0.5)) or _containing(keyword, names)
    shown = str(signature)
    if keyword in signature.accepted:
        message = f"{usage.symbol}({keyword}=) is deprecated and accepted under its old name only"
        problems.append(
            Problem(
                code="PARAM_DEPRECATED", key=keyword, message=message, severity=NOTE, similar=similar, signature=shown
            )
        )
        return
    if not signature.has(KWARGS):
        message = f"{usage.symbol}() has no parameter {keyword!r}"
        problems.append(Problem(code="PARAM_REMOVED", key=keyword, message=message, similar=similar, signature=shown))
        return
    is_read = None if signature.function is None else reads_keyword(library, signature.function, keyword)
    if is_read is None:
        doubts.append(keyword)
    elif not is_read:
        message = f"{usage.symbol}({keyword}=) falls into **kwargs, and nothing there reads it"
        problems.append(
            Problem(
                code="KWARG_SWALLOWED",
                key=keyword,
                message=message,
                severity=WARNING,
                similar=similar,
                signature=shown,
            )
        )


def _containing(keyword: str, names: list[str]) -> tuple[str, ...]:
    return tuple(name for name in names if keyword in name or name in keyword)[:2]


def _missing_required(usage: Usage, signature: Signature) -> list[Problem]:
    given = {parameter.name for parameter in signature.positional[: usage.num_positional]} | set(usage.keywords)
    return [
        Problem(
            code="PARAM_NEW_REQUIRED",
            key=parameter.name,
            message=f"{usage.symbol}() requires {parameter.name!r}, which we do not pass",
            signature=str(signature),
        )
        for parameter in signature.parameters
        if parameter.is_required and parameter.name not in given
    ]


def _twice(usage: Usage, signature: Signature) -> list[Problem]:
    filled = {p.name for p in signature.positional[: usage.num_positional] if p.kind in NAMED}
    return [
        Problem(
            code="PARAM_TWICE",
            key=keyword,
            message=f"{usage.symbol}({keyword}=): our positional arguments fill {keyword!r} already",
            signature=str(signature),
        )
        for keyword in usage.keywords
        if keyword in filled
    ]


def _literals(usage: Usage, library: Library, signature: Signature) -> list[Problem]:
    problems = []
    for keyword, value in usage.strings:
        if keyword.isdigit():
            parameter = next(iter(signature.positional[int(keyword) : int(keyword) + 1]), None)
        else:
            parameter = signature.get(keyword)
        allowed = None if parameter is None else _allowed_strings(library, signature, parameter.annotation or "")
        if allowed is not None and value not in allowed:
            message = f"{usage.symbol}({keyword}={value!r}): allowed are {', '.join(sorted(allowed))}"
            problems.append(Problem(code="LITERAL_REMOVED", key=f"{keyword}={value}", message=message))
    return problems


def _allowed_strings(library: Library, signature: Signature, annotation: str) -> set[str] | None:
    """The strings of a `Literal`, or of an alias of one in the module of the function; None for any other annotation."""
    text = _NONE.sub("", annotation.strip())
    optional = _OPTIONAL.fullmatch(text)
    text = optional.group(1) if optional else text
    if text.isidentifier() and signature.function is not None:
        alias = library.in_module(signature.function.module, text).node
        value = alias.value if isinstance(alias, ast.Assign | ast.AnnAssign) else None
        text = ast.unparse(value) if isinstance(value, ast.Subscript) else ""
    match = _LITERAL.fullmatch(text)
    if match is None:
        return None
    try:
        values = ast.literal_eval(f"({match.group(1)},)")
    except (ValueError, SyntaxError):
        return None
    return {value for value in values if isinstance(value, str)}


def _result(usage: Usage, library: Library, signature: Signature) -> list[Problem]:
    problems = []
    if (
        usage.unpacks is not None
        and signature.function is not None
        and not signature.function.path.endswith("__init__")
    ):
        arity = return_arity(signature.function.node)
        arity = _named_tuple_arity(library, signature.function) if arity is None else arity
        if arity is not None and arity != usage.unpacks:
            message = f"{usage.symbol}() gives {arity} values, we unpack {usage.unpacks}"
            problems.append(Problem(code="RETURN_ARITY", key=str(arity), message=message))
    if signature.is_async and usage.unpacks is not None and not usage.awaited:
        message = f"{usage.symbol}() is a coroutine now, we unpack its result without awaiting it"
        problems.append(Problem(code="ASYNC_CHANGED", key="async", message=message))
    return problems


def _named_tuple_arity(library: Library, function: Symbol) -> int | None:
    made = result_of(library, function)
    if made.what is not What.INSTANCE:
        return None
    order = library.classes.order(made)
    if not any(base.what is What.EXTERNAL and base.path.endswith("NamedTuple") for base in order):
        return None
    fields = generated_signature(library, made, order)
    return len(fields.parameters) if isinstance(fields, Signature) else None


def return_arity(node: ast.AST | None) -> int | None:
    """The number of values a function returns, by its annotation or when all its returns are tuples of one length."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    if node.returns is not None:
        text = node.returns.value if isinstance(node.returns, ast.Constant) else ast.unparse(node.returns)
        if str(text).strip() in _SINGLE:
            return 1
        match = _TUPLE.fullmatch(str(text).strip())
        if match is None or "..." in match.group(1):
            return None
        parsed = ast.parse(f"({match.group(1)},)", mode="eval").body
        return len(parsed.elts) if isinstance(parsed, ast.Tuple) else None
    lengths = {_length(value) for value in _returned(node)}
    return lengths.pop() if len(lengths) == 1 else None


def _returned(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.expr | None]:
    found: list[ast.expr | None] = []
    stack: list[ast.AST] = list(node.body)
    while stack:
        child = stack.pop()
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(child, ast.Yield | ast.YieldFrom):
            return [None]
        if isinstance(child, ast.Return):
            found.append(child.value)
        stack += ast.iter_child_nodes(child)
    return found


def _length(value: ast.expr | None) -> int | None:
    if not isinstance(value, ast.Tuple) or any(isinstance(element, ast.Starred) for element in value.elts):
        return None
    return len(value.elts)
