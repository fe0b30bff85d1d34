# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The HTTP routes of a server with the fields of their requests, and its command line flags, read from its sources.

Routes come from decorators of FastAPI, Starlette and aiohttp and from `add_api_route`; flags from `add_argument` and from
the fields of the dataclasses that servers turn into flags.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from areal.harness.apiaudit.library.fields import field_names
from areal.harness.apiaudit.library.resolver import Library
from areal.harness.apiaudit.library.symbols import Symbol, What
from areal.harness.apiaudit.library.values import result_of, value_of

_VERBS = ("get", "post", "put", "delete", "patch")
_DECORATORS = (*_VERBS, "api_route", "route")
_REGISTER = re.compile(
    r"(?:add_api_route|add_route|\.(?:get|post|put|delete|patch|api_route|route))\(\s*(?:path\s*=\s*)?[\"']/"
)
"""A call that registers a path; a plain `.get(` is in nearly every module."""
_NOT_BODY = re.compile(r"(?:\w+\.)*(Request|Response|BackgroundTasks|WebSocket|HTTPConnection|Header|Depends)")
_SCALARS = ("str", "int", "float", "bool")
_FLAG_CLASSES = ("ServerArgs", "EngineArgs", "AsyncEngineArgs", "FrontendArgs")
_FLAG_FOLDERS = re.compile(r"\.arg_groups\.|\.server_args")
_FLAG = re.compile(r"--[a-z][\w-]*")


@dataclass(frozen=True)
class Route:
    """One route: its path, methods, and the function that answers."""

    path: str
    methods: tuple[str, ...]
    module: str
    handler: ast.FunctionDef | ast.AsyncFunctionDef | None


class Server:
    """The server in a release; `nested` names the class behind a field whose annotation is only a dict."""

    def __init__(self, library: Library, nested: Mapping[str, str]) -> None:
        self._library = library
        self._nested = nested
        self._routes: list[Route] | None = None
        self._flags: set[str] | None = None

    @property
    def routes(self) -> list[Route]:
        """All routes."""
        if self._routes is None:
            sources = self._library.sources
            modules = [m for m, path in sources.files.items() if path is not None and _REGISTER.search(sources.text(m))]
            self._routes = [route for module in modules for route in self._routes_of(module)]
        return self._routes

    @property
    def flags(self) -> set[str]:
        """All flags, `--like-this`."""
        if self._flags is None:
            self._flags = set(self._find_flags())
        return self._flags

    def fields(self, route: Route) -> list[str] | None:
        """The fields of a route's request; `**` at the end when more are taken; None when the sources do not tell."""
        if route.handler is None:
            return None
        found: list[str] = []
        is_known = False
        arguments = route.handler.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            if argument.annotation is None:
                continue
            for annotation in _members(argument.annotation):
                names = self._argument_fields(route.module, argument.arg, annotation)
                if names is not None:
                    found += names
                    is_known = True
        return found if is_known else None

    def nested_fields(self, route: Route, field: str) -> list[str] | None:
        """The fields of a dict within a request."""
        if field in self._nested:
            cls = self._library.resolve(self._nested[field])
            return self._class_fields(cls)
        for cls in self._body_classes(route):
            value = self._library.member(result_of(self._library, cls), field)
            held = value_of(self._library, value) if value.is_found else value
            if held.what is What.INSTANCE:
                return self._class_fields(held)
        return None

    def _routes_of(self, module: str) -> Iterator[Route]:
        tree = self._library.sources.tree(module)
        prefixes = _prefixes(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for decorator in node.decorator_list:
                    yield from _from_decorator(decorator, node, module, prefixes)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr in ("add_api_route", "add_route") and (path := _path(node)) is not None:
                    handler = self._handler(module, node)
                    yield Route(path, _methods(node, ("GET",)), module, handler)
                elif node.func.attr in _VERBS and ast.unparse(node.func.value) == "web" and _path(node) is not None:
                    yield Route(str(_path(node)), (node.func.attr.upper(),), module, None)

    def _handler(self, module: str, call: ast.Call) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        if len(call.args) < 2 or not isinstance(call.args[1], ast.Name):
            return None
        node = self._library.module_member(module, call.args[1].id).node
        return node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else None

    def _argument_fields(self, module: str, name: str, annotation: str) -> list[str] | None:
        if annotation in _SCALARS:
            return [name]
        if _NOT_BODY.fullmatch(annotation) or not annotation.replace(".", "").replace("_", "").isalnum():
            return None
        return self._class_fields(self._library.in_module(module, annotation))

    def _class_fields(self, cls: Symbol) -> list[str] | None:
        if cls.what not in (What.CLASS, What.INSTANCE):
            return None
        names = field_names(self._library, cls)
        if names:
            return names
        init = self._library.member(cls, "__init__").node
        if isinstance(init, ast.FunctionDef):
            return [argument.arg for argument in (*init.args.args, *init.args.kwonlyargs) if argument.arg != "self"]
        return None

    def _body_classes(self, route: Route) -> Iterator[Symbol]:
        if route.handler is not None:
            for argument in route.handler.args.args:
                for annotation in _members(argument.annotation) if argument.annotation is not None else []:
                    found = self._library.in_module(route.module, annotation)
                    if found.what is What.CLASS and not _NOT_BODY.fullmatch(annotation):
                        yield found

    def _find_flags(self) -> Iterator[str]:
        sources = self._library.sources
        for module, path in sources.files.items():
            text = sources.text(module) if path is not None else ""
            if "add_argument(" in text:
                yield from _added_arguments(sources.tree(module))
            has_class = any(f"class {name}" in text for name in _FLAG_CLASSES)
            if has_class or (_FLAG_FOLDERS.search(f".{module}.") and "class " in text):
                yield from _dataclass_flags(sources.tree(module), all_classes=not has_class)


def _prefixes(tree: ast.Module) -> dict[str, str]:
    """`router = APIRouter(prefix="/v1")`: prefix by variable."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name):
            for keyword in node.value.keywords:
                if keyword.arg == "prefix" and isinstance(keyword.value, ast.Constant):
                    found[node.targets[0].id] = str(keyword.value.value)
    return found


def _from_decorator(
    decorator: ast.expr, node: ast.FunctionDef | ast.AsyncFunctionDef, module: str, prefixes: Mapping[str, str]
) -> Iterator[Route]:
    if not isinstance(decorator, ast.Call) or not isinstance(decorator.func, ast.Attribute):
        return
    path = _path(decorator)
    if decorator.func.attr not in _DECORATORS or path is None:
        return
    default = (decorator.func.attr.upper(),) if decorator.func.attr in _VERBS else ("GET",)
    prefix = prefixes.get(ast.unparse(decorator.func.value), "")
    yield Route(prefix + path, _methods(decorator, default), module, node)


def _path(call: ast.Call) -> str | None:
    named = [keyword.value for keyword in call.keywords if keyword.arg == "path"]
    for value in (*call.args[:1], *named):
        if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value.startswith("/"):
            return value.value
    return None


def _methods(call: ast.Call, default: tuple[str, ...]) -> tuple[str, ...]:
    for keyword in call.keywords:
        if keyword.arg == "methods" and isinstance(keyword.value, ast.List | ast.Tuple | ast.Set):
            return tuple(str(e.value).upper() for e in keyword.value.elts if isinstance(e, ast.Constant))
    return default


def _members(annotation: ast.expr) -> list[str]:
    """The classes of an annotation: members of a union, without `Annotated[...]`, `Optional[...]` and quotes."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return _members(ast.parse(annotation.value, mode="eval").body)
    if isinstance(annotation, ast.BinOp):
        return [*_members(annotation.left), *_members(annotation.right)]
    if isinstance(annotation, ast.Subscript):
        outer = ast.unparse(annotation.value).split(".")[-1]
        inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        if outer == "Annotated":
            return _members(inner[0])
        if outer in ("Optional", "Union"):
            return [name for each in inner for name in _members(each)]
        return []
    if isinstance(annotation, ast.Name | ast.Attribute):
        return [ast.unparse(annotation)]
    return []


def _added_arguments(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            for argument in node.args:
                if isinstance(argument, ast.Constant) and _FLAG.fullmatch(str(argument.value)):
                    yield str(argument.value).replace("_", "-")


def _dataclass_flags(tree: ast.Module, *, all_classes: bool) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and (all_classes or node.name in _FLAG_CLASSES):
            for statement in node.body:
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    yield "--" + statement.target.id.replace("_", "-")
