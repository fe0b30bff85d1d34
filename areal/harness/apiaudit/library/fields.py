# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Constructors that are generated from fields: dataclasses, pydantic models, msgspec structs, named tuples."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from areal.harness.apiaudit.library.signatures import KWARGS, NoSignature, Parameter, Signature
from areal.harness.apiaudit.library.symbols import Symbol, What

if TYPE_CHECKING:
    from areal.harness.apiaudit.library.resolver import Library

_DATACLASS = re.compile(r"(dataclass|define|attrs|attr\.s|strict|config)\b")
_MODELS = re.compile(r"(BaseModel|BaseSettings|Struct)$")
_FIELD_CALLS = re.compile(r"(field|Field|attrib|ib)$")
_SKIPPED = ("ClassVar", "InitVar[None]", "PrivateAttr")


def generated_signature(library: Library, cls: Symbol, order: list[Symbol]) -> Signature | NoSignature:
    """The constructor made of the fields of a class and its bases; a class without any takes no arguments."""
    externals = [base.path for base in order if base.what is What.EXTERNAL]
    is_model = any(_MODELS.search(path) for path in externals) or any(
        _MODELS.search(base.path) for base in order[1:] if base.what is What.CLASS
    )
    is_tuple = any(path.endswith("NamedTuple") for path in externals)
    if any(path.endswith("TypedDict") for path in externals):
        return NoSignature("a typed dict")
    decorated = [base for base in order if _decorator(base) is not None]
    if not (is_model or is_tuple or decorated):
        if externals or _has_metaclass(order):
            return NoSignature(f"constructor of {externals[0] if externals else 'a metaclass'}")
        return Signature(parameters=())
    fields: dict[str, Parameter] = {}
    for base in reversed(order):
        if isinstance(base.node, ast.ClassDef) and (is_model or is_tuple or base in decorated):
            _add_fields(base.node, _keyword_only(base) or is_model, fields)
    parameters = sorted(fields.values(), key=lambda parameter: parameter.kind == "keyword-only")
    if _takes_more(order, is_model):
        parameters.append(Parameter(name="extra", kind=KWARGS))
    return Signature(parameters=tuple(parameters))


def field_names(library: Library, cls: Symbol) -> list[str] | None:
    """The fields of a class, None when they cannot be told; `extra` fields allowed end the list with `**`."""
    signature = generated_signature(library, cls, library.classes.order(cls))
    if isinstance(signature, NoSignature):
        return None
    return ["**" if parameter.kind == KWARGS else parameter.name for parameter in signature.parameters]


def _add_fields(node: ast.ClassDef, keyword_only: bool, fields: dict[str, Parameter]) -> None:
    for statement in node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        name, annotation = statement.target.id, ast.unparse(statement.annotation)
        if annotation.split(".")[-1] == "KW_ONLY":
            keyword_only = True
            continue
        if any(word in annotation for word in _SKIPPED) or name.startswith("__") or name == "model_config":
            continue
        default, is_field, kw_only = _default_of(statement.value)
        if not is_field:
            fields.pop(name, None)
            continue
        kind = "keyword-only" if keyword_only or kw_only else "positional or keyword"
        alias = _alias_of(statement.value)
        fields[name] = Parameter(name=alias or name, kind=kind, default=default, annotation=annotation)


def _default_of(value: ast.expr | None) -> tuple[str | None, bool, bool]:
    """A field's default, whether it is a parameter at all, and whether it is keyword-only."""
    if not isinstance(value, ast.Call) or not _FIELD_CALLS.search(ast.unparse(value.func)):
        return (None if value is None else ast.unparse(value)), True, False
    named = {keyword.arg: ast.unparse(keyword.value) for keyword in value.keywords if keyword.arg}
    default = named.get("default", named.get("default_factory", named.get("factory")))
    if default is None and value.args and ast.unparse(value.func).endswith("Field"):
        default = ast.unparse(value.args[0])
    default = None if default in ("...", "dataclasses.MISSING", "MISSING") else default
    return default, named.get("init") != "False", named.get("kw_only") == "True"


def _alias_of(value: ast.expr | None) -> str | None:
    if isinstance(value, ast.Call):
        for keyword in value.keywords:
            if keyword.arg in ("alias", "validation_alias") and isinstance(keyword.value, ast.Constant):
                return str(keyword.value.value)
    return None


def _decorator(base: Symbol) -> ast.expr | None:
    if not isinstance(base.node, ast.ClassDef):
        return None
    return next((each for each in base.node.decorator_list if _DATACLASS.search(ast.unparse(each))), None)


def _keyword_only(base: Symbol) -> bool:
    decorator = _decorator(base)
    return decorator is not None and "kw_only=True" in ast.unparse(decorator)


def _takes_more(order: list[Symbol], is_model: bool) -> bool:
    """Whether unknown keywords are accepted: pydantic's `extra="allow"`, or a decorator that accepts them."""
    for base in order:
        if not isinstance(base.node, ast.ClassDef):
            continue
        if any("accept_kwargs=True" in ast.unparse(each) for each in base.node.decorator_list):
            return True
        for statement in base.node.body if is_model else []:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "model_config":
                return bool(re.search(r"extra['\"]?\s*[=:]\s*['\"]?(allow|ignore)", ast.unparse(statement.value)))
        if is_model and any(keyword.arg == "extra" for keyword in base.node.keywords):
            return any(k.arg == "extra" and "allow" in ast.unparse(k.value) for k in base.node.keywords)
    return is_model and not _forbids_by_default(order)


def _forbids_by_default(order: list[Symbol]) -> bool:
    """Structs refuse unknown keywords; pydantic ignores them unless told otherwise."""
    return any(base.what is What.EXTERNAL and base.path.endswith("Struct") for base in order)


def _has_metaclass(order: list[Symbol]) -> bool:
    return any(
        keyword.arg == "metaclass"
        for base in order
        if isinstance(base.node, ast.ClassDef)
        for keyword in base.node.keywords
    )
