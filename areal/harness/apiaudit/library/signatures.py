# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters that calling a symbol takes, as far as the sources tell.

Functions are read through griffe; decorators that replace the signature make it unknown unless they are seen to pass
arguments through. Classes are called by their `__init__` or by the fields they are generated from (`fields.py`).
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import griffe

from areal.harness.apiaudit.library.symbols import Symbol, What
from areal.harness.apiaudit.library.values import value_of

if TYPE_CHECKING:
    from areal.harness.apiaudit.library.resolver import Library

POSITIONAL = ("positional-only", "positional or keyword")
NAMED = ("positional or keyword", "keyword-only")
VARARGS, KWARGS = "variadic positional", "variadic keyword"
_TRANSPARENT = re.compile(
    r"(staticmethod|classmethod|property|overload|override|final|cache|lru_cache|cached_property|contextmanager"
    r"|asynccontextmanager|abstractmethod|deprecated|wraps|no_grad|inference_mode|enable_grad|compile|script|ignore"
    r"|unused|export|jit_fuser|total_ordering|runtime_checkable|set_module|torch_function|cuda\.amp\.\w+)\b"
)
"""Decorators of the standard library and of torch that leave the parameters as they are, by their last name."""
_OPEN_BASES = re.compile(r"(Module|ABC|object|PushToHubMixin)$")
_GENERATED = re.compile(r"(dataclass|define|attrs|attr\.s|strict|config)\b")
_MODEL_BASES = re.compile(r"(BaseModel|Struct|NamedTuple|TypedDict)$")


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter; `default` and `annotation` as the source writes them."""

    name: str
    kind: str
    default: str | None = None
    annotation: str | None = None

    @property
    def is_required(self) -> bool:
        """Whether a call must pass it."""
        return self.default is None and self.kind not in (VARARGS, KWARGS)

    def __str__(self) -> str:
        stars = {VARARGS: "*", KWARGS: "**"}.get(self.kind, "")
        return f"{stars}{self.name}" + ("" if self.default is None or stars else f"={self.default}")


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What a call may pass. `accepted` are old names that a decorator still takes; `function` holds the body, if any."""

    parameters: tuple[Parameter, ...]
    accepted: tuple[str, ...] = ()
    is_async: bool = False
    function: Symbol | None = None

    def __str__(self) -> str:
        shown, star = [], False
        for parameter in self.parameters:
            if parameter.kind == "keyword-only" and not star:
                shown.append("*")
                star = True
            star = star or parameter.kind == VARARGS
            shown.append(str(parameter))
        return f"({', '.join(shown)})"

    def get(self, name: str) -> Parameter | None:
        """The parameter of that name that can be passed by keyword."""
        return next((p for p in self.parameters if p.name == name and p.kind in NAMED), None)

    @property
    def positional(self) -> list[Parameter]:
        """Those that positional arguments fill."""
        return [parameter for parameter in self.parameters if parameter.kind in POSITIONAL]

    def has(self, kind: str) -> bool:
        """Whether it takes `*args` or `**kwargs`."""
        return any(parameter.kind == kind for parameter in self.parameters)


@dataclass(frozen=True)
class NoSignature:
    """Why the parameters are not known."""

    reason: str


def signature_of(library: Library, symbol: Symbol) -> Signature | NoSignature:
    """The signature by which the symbol, as it was reached, is called; the first of several."""
    return signatures_of(library, symbol)[0]


def signatures_of(library: Library, symbol: Symbol) -> list[Signature | NoSignature]:
    """The signatures that one definition offers; several where its constructor or `__call__` is overloaded."""
    if symbol.what is What.FUNCTION:
        return [_of_function(library, symbol)]
    if symbol.what is What.CLASS:
        return _of_class(library, symbol)
    if symbol.what is What.INSTANCE:
        call = library.classes.member(symbol, "__call__")
        if call.what is not What.FUNCTION:
            return [NoSignature(f"__call__: {call.note}")]
        return [_of_function(library, each) for each in call.alternatives]
    if symbol.what is What.ATTRIBUTE and symbol.note != "property":
        value = value_of(library, symbol)
        if value.what is What.INSTANCE:
            return signatures_of(library, value)
    return [NoSignature(f"a {symbol.what.value} whose value the sources do not show")]


def parameters_of(function: griffe.Function, node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[Parameter]:
    """All parameters of a function as written; annotations from the source, where `Literal` keeps its quotes."""
    arguments = node.args
    written = {
        argument.arg: ast.unparse(argument.annotation)
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        if argument.annotation is not None
    }
    return [
        Parameter(
            name=parameter.name,
            kind=parameter.kind.value if parameter.kind is not None else POSITIONAL[1],
            default=None if parameter.default is None else str(parameter.default),
            annotation=written.get(parameter.name),
        )
        for parameter in function.parameters
    ]


def _of_function(library: Library, symbol: Symbol) -> Signature | NoSignature:
    if not isinstance(symbol.node, ast.FunctionDef | ast.AsyncFunctionDef):
        return NoSignature("no source of the function")
    visited = library.sources.visited(symbol.node)
    if not isinstance(visited, griffe.Function):
        return NoSignature("the source of the function cannot be read")
    parameters = parameters_of(visited, symbol.node)
    decorators = symbol.node.decorator_list
    is_static = any(ast.unparse(each) == "staticmethod" for each in decorators)
    if symbol.owner is not None:
        parameters = _without_receiver(symbol, parameters, is_static)
    accepted: list[str] = []
    for decorator in decorators:
        verdict = _through_decorator(library, symbol, decorator)
        if verdict is None:
            return NoSignature(f"decorated with {ast.unparse(decorator)[:60]}")
        accepted += verdict
    return Signature(
        parameters=tuple(parameters),
        accepted=tuple(accepted),
        is_async=isinstance(symbol.node, ast.AsyncFunctionDef),
        function=symbol,
    )


def _without_receiver(symbol: Symbol, parameters: list[Parameter], is_static: bool) -> list[Parameter]:
    """Parameters that a caller fills: `self` only where a method is called on the class itself."""
    is_autograd = (
        symbol.node is not None and symbol.path.endswith(".apply") and "ctx" in [p.name for p in parameters[:1]]
    )
    drops = is_autograd or (not is_static and (symbol.bound or symbol.path.endswith(".__init__")))
    if not drops or not parameters or parameters[0].kind == VARARGS:
        return parameters
    return parameters[1:]


def _through_decorator(library: Library, symbol: Symbol, decorator: ast.expr) -> list[str] | None:
    """Old keyword names that a decorator also accepts; None when it may change the parameters."""
    call = decorator if isinstance(decorator, ast.Call) else None
    name = ast.unparse(call.func if call else decorator)
    if "deprecate_kwarg" in name or "deprecated_arg" in name:
        strings = [a.value for a in call.args if isinstance(a, ast.Constant)] if call else []
        return [str(text) for text in strings[:1] if isinstance(text, str)]
    if _TRANSPARENT.search(name.split("(")[0].split(".")[-1]) or name.startswith(("torch.", "functools.", "abc.")):
        return []
    if name.endswith((".setter", ".getter", ".register", ".get", ".post", ".put", ".delete", ".api_route")):
        return []
    found = library.in_module(symbol.module, name)
    if found.what is What.FUNCTION and found.node is not None and _passes_through(found.node):
        return []
    if found.what is What.CLASS and isinstance(found.node, ast.ClassDef):
        call_method = library.classes.member(replace(found, what=What.INSTANCE), "__call__")
        if call_method.node is not None and _passes_through(call_method.node):
            return []
    return None


def _passes_through(node: ast.AST) -> bool:
    """Whether a decorator keeps the signature: it wraps with `functools.wraps`, or returns what it was given."""
    given: set[str] = set()
    returned: set[str] = set()
    for child in ast.walk(node):
        if isinstance(child, ast.Call | ast.Name | ast.Attribute):
            text = ast.unparse(child.func if isinstance(child, ast.Call) else child)
            if text.split(".")[-1] in ("wraps", "update_wrapper", "wrap_function_wrapper"):
                return True
        if isinstance(child, ast.FunctionDef | ast.Lambda):
            given |= {argument.arg for argument in (*child.args.posonlyargs, *child.args.args)}
        if isinstance(child, ast.Return) and isinstance(child.value, ast.Name):
            returned.add(child.value.id)
    return bool(given & returned)


def _of_class(library: Library, cls: Symbol) -> list[Signature | NoSignature]:
    from areal.harness.apiaudit.library.fields import generated_signature

    order = library.classes.order(cls)
    for base in order:
        if base.what is What.EXTERNAL:
            if re.search(r"(Enum|Flag)$", base.path):
                return [NoSignature("an enum")]
            if _MODEL_BASES.search(base.path):
                break
            if not _OPEN_BASES.search(base.path):
                return [NoSignature(f"base {base.path} is in another distribution")]
            continue
        if not isinstance(base.node, ast.ClassDef):
            continue
        own = _own_constructors(library, base, cls)
        if own:
            return own
        if any(_GENERATED.search(ast.unparse(decorator)) for decorator in base.node.decorator_list):
            break
    return [generated_signature(library, cls, order)]


def _own_constructors(library: Library, base: Symbol, cls: Symbol) -> list[Signature | NoSignature]:
    for name in ("__init__", "__new__"):
        found = library.classes.own_statements(base, name)
        symbols = [
            Symbol(
                what=What.FUNCTION,
                path=f"{base.path}.{name}",
                module=base.module,
                node=statement,
                owner=cls,
                bound=True,
            )
            for statement in found
            if isinstance(statement, ast.FunctionDef)
        ]
        if symbols:
            return [_of_function(library, symbol) for symbol in symbols]
    return []
