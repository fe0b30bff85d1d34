# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Walking config classes: which keys exist, which of them are sections, and what a misspelt key may have meant.

Works on classes, never on instances, so that it serves files that do not load. Must never import omegaconf.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from functools import cache
from typing import Any

from areal.api.config.fields import suggestion


@cache
def field_types(config_cls: type) -> dict[str, Any]:
    """The settable fields of a config class and their resolved types."""
    hints = typing.get_type_hints(config_cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(config_cls) if field.init}


def section_class(hint: Any) -> type | None:
    """The dataclass of a field that is a section (`X` or `X | None`), or None for a plain value."""
    for candidate in _union_members(hint):
        if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
            return candidate
    return None


def element_type(hint: Any) -> Any:
    """The type of the elements of a list, or of the values of a dict; None where the type does not say."""
    for candidate in _union_members(hint):
        if typing.get_origin(candidate) in (list, dict):
            return typing.get_args(candidate)[-1]
    return None


def is_optional(hint: Any) -> bool:
    """Whether the type includes None."""
    return type(None) in _union_members(hint)


def type_name(hint: Any) -> str:
    """A type as a person writes it in a config."""
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "").replace("NoneType", "null")


def dotted_keys(config_cls: type, prefix: str = "") -> Iterator[tuple[str, type, str]]:
    """Yield (dotted path, class that declares it, field name) for every key below `config_cls`, sections included."""
    for name, hint in field_types(config_cls).items():
        yield f"{prefix}{name}", config_cls, name
        section = section_class(hint)
        if section is not None:
            yield from dotted_keys(section, f"{prefix}{name}.")


def did_you_mean(root_cls: type, config_cls: type, path: str) -> str:
    """A trailing suggestion for the unknown `path`: a sibling of similar name, else the same name elsewhere."""
    parent, _, name = path.rpartition(".")
    near = suggestion(name, field_types(config_cls))
    if near:
        return near.replace("mean '", f"mean '{parent}." if parent else "mean '")
    elsewhere = [key for key, _, field in dotted_keys(root_cls) if field == name]
    elsewhere = [key for key in elsewhere if key.startswith(f"{parent}.")] or elsewhere
    return f" Did you mean {' or '.join(repr(key) for key in elsewhere[:3])}?" if elsewhere else ""


def _union_members(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)
