# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The HTTP requests that our clients of inference servers send, and the server flags that our launchers set.

A client or launcher of a server is a file under `areal/` with the server's name in its own, or one that the contract lists.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from areal.harness.apiaudit.ours.calls import dict_fields
from areal.harness.apiaudit.ours.scanner import FileScan, Place
from areal.harness.apiaudit.ours.scopes import Bound
from areal.harness.apiaudit.usage import Kind, Usage

_ROUTE = re.compile(r"/[A-Za-z0-9_]+(/[A-Za-z0-9_{}.-]+)*")
_FLAG = re.compile(r"--[a-z][a-z0-9-]*")
_METHODS = ("get", "post", "put", "delete", "patch")
_PAYLOADS = ("payload", "json", "body")
_MAX_NESTED = 2
"""Requests nest one dict of sampling parameters; deeper is free-form."""


def server_requests(scan: FileScan) -> Iterator[Usage]:
    """Routes that a client file calls, with the fields it sends; routes that the file itself adds to a server are left out."""
    own = set(_own_routes(scan.tree))
    for node, place in scan.visit():
        if isinstance(node, ast.Call):
            path = _path_of(node)
            if path is not None and path not in own:
                fields, is_open = _payload_fields(node, place)
                yield Usage(
                    symbol=f"{_method_of(node)} {path}",
                    kind=Kind.ROUTE,
                    file=scan.file,
                    qualname=place.scope.qualname,
                    line=node.lineno,
                    keywords=fields,
                    open_call=is_open,
                )


def server_flags(scan: FileScan) -> Iterator[Usage]:
    """Command line flags that appear as strings in a launcher file."""
    for node, place in scan.visit():
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _FLAG.fullmatch(node.value):
            yield _flag(node.value, scan, place.scope.qualname, node.lineno)


def config_flags(scan: FileScan, class_name: str, ignored: frozenset[str]) -> Iterator[Usage]:
    """One flag for each field of the dataclass that is turned into the command line of a server."""
    for node in ast.walk(scan.tree):
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            for statement in node.body:
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    name = statement.target.id
                    if name not in ignored:
                        yield _flag("--" + name.replace("_", "-"), scan, class_name, statement.lineno)


def _flag(flag: str, scan: FileScan, qualname: str, line: int) -> Usage:
    return Usage(symbol=flag, kind=Kind.FLAG, file=scan.file, qualname=qualname, line=line)


def _own_routes(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and decorator.args and isinstance(decorator.args[0], ast.Constant):
                    yield str(decorator.args[0].value)


def _path_of(node: ast.Call) -> str | None:
    named = [keyword.value for keyword in node.keywords if keyword.arg in ("endpoint", "path", "url", "route")]
    for value in (*named, *node.args[:2]):
        text = value
        if isinstance(text, ast.JoinedStr) and text.values:
            text = text.values[-1]
        if isinstance(text, ast.Constant) and isinstance(text.value, str) and _ROUTE.fullmatch(text.value):
            return text.value
    return None


def _method_of(node: ast.Call) -> str:
    for keyword in node.keywords:
        if keyword.arg == "method" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value).upper()
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    return name.upper() if name in _METHODS else "POST"


def _payload_fields(node: ast.Call, place: Place) -> tuple[tuple[str, ...], bool]:
    for keyword in node.keywords:
        if keyword.arg in _PAYLOADS:
            return _fields_of(keyword.value, place, "", 1)
    return (), False


def _fields_of(node: ast.expr, place: Place, prefix: str, level: int) -> tuple[tuple[str, ...], bool]:
    fields = dict_fields(node, place)
    if fields is None:
        return (), True
    names: list[str] = []
    for key in fields[0]:
        if isinstance(key, ast.Constant):
            names.append(f"{prefix}{key.value}")
            value = _value_of(node, str(key.value), place)
            if value is not None and level < _MAX_NESTED and dict_fields(value, place) is not None:
                names += _fields_of(value, place, f"{prefix}{key.value}.", level + 1)[0]
    return tuple(dict.fromkeys(names)), not fields[1]


def _value_of(node: ast.expr, key: str, place: Place) -> ast.expr | None:
    if isinstance(node, ast.Name):
        found = place.scope.lookup(node.id)
        bound = found[1][0].node if found and found[1][0].how is Bound.VALUE else None
        return _value_of(bound, key, place) if isinstance(bound, ast.Dict) else None
    if isinstance(node, ast.Dict):
        for name, value in zip(node.keys, node.values, strict=True):
            if isinstance(name, ast.Constant) and name.value == key:
                return value
    return None
