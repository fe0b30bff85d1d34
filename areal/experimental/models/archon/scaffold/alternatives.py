# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Other values that a config field may take, from its type, its value and the strings that the model's source compares.

Small changes that keep a tiny model tiny; whether one is possible is found out by building the model.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from typing import Any, Literal, get_args, get_origin

from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

from areal.experimental.models.archon.scaffold.tiny_config import (
    MAX_SMALL,
    constructor_fields,
    field_types,
    is_repeated,
    usual_size,
)

_ACTIVATIONS = ("silu", "gelu", "relu", "gelu_pytorch_tanh", "relu2")
MAX_ALTERNATIVES = 2


def alternatives(config: PreTrainedConfig, model_class: type, name: str, value: Any) -> list[Any]:
    """Values to try in place of `value`, most telling first."""
    types = field_types(type(config), name)
    found: list[Any]
    if isinstance(value, bool):
        found = [not value]
    elif isinstance(value, int):
        found = _integers(value)
    elif isinstance(value, float):
        found = _floats(value)
    elif isinstance(value, str):
        found = _strings(config, model_class, name, value)
    elif isinstance(value, list):
        found = _lists(config, model_class, name, value)
    elif value is None:
        found = _instead_of_none(config, model_class, name, types)
    else:
        found = []
    if value is not None and type(None) in types:
        found.insert(1, None)
    default = constructor_fields(type(config)).get(name)
    if default is not None and default != value and (not isinstance(default, int) or default <= MAX_SMALL):
        found.insert(0, default)  # what most checkpoints have
    return list({repr(v): v for v in found if v != value}.values())


def _integers(value: int) -> list[int]:
    tried = [value * 2, value + 1, value // 2, value + 2, value - 1, value * 3, 1, 0]
    return [v for v in dict.fromkeys(tried) if v >= 0 and v != value]


def _floats(value: float) -> list[float]:
    if value == 0.0:
        return [0.3, 0.7]
    if 0 < abs(value) < 1e-3:
        return [0.05, 0.02]
    return [value * 1.37, value * 0.61, 0.3]


def _instead_of_none(config: PreTrainedConfig, model_class: type, name: str, types: tuple[type, ...]) -> list[Any]:
    if bool in types:
        return [True, False]
    if int in types and (float not in types or re.search(r"size|window|dim|num_|rank|chunk", name)):
        return [usual_size(name) or 3, 5, 2, 1]
    if float in types:
        return [0.7, 2.5]
    return _strings(config, model_class, name, "") if str in types else []


def _strings(config: PreTrainedConfig, model_class: type, name: str, value: str) -> list[str]:
    if value in ACT2FN:
        return [v for v in _ACTIVATIONS if v != value]
    return [v for v in (*_literals(type(config), name), *compared_strings(model_class, name)) if v != value]


def _lists(config: PreTrainedConfig, model_class: type, name: str, value: list[Any]) -> list[Any]:
    depth = config.num_hidden_layers
    if not value:
        return [[1], [0, 2]] if depth > 2 else [[1]]
    if all(is_repeated(item) for item in value):
        return [[[kinds[::-1], times] for kinds, times in value]]
    if len(value) == depth:
        kinds = list(dict.fromkeys(value))
        if isinstance(value[0], str):
            named = [*compared_strings(model_class, name), *_kinds_like(model_class, value[0])]
            kinds += [k for k in dict.fromkeys(named) if k not in kinds]
        elif isinstance(value[0], bool | int) and set(kinds) <= {0, 1}:
            kinds = [value[0], type(value[0])(1 - value[0])]
        elif isinstance(value[0], int) and not isinstance(value[0], bool):
            return [[v * 2 for v in value], [v * (1 + n % 2) for n, v in enumerate(value)]]
        rotated = [kinds[(i + 1) % len(kinds)] for i in range(depth)]
        uniform = [[kind] * depth for kind in kinds]
        mixed = [kinds[min(i, len(kinds) - 1)] for i in range(depth)]
        return [v for v in (value[1:] + value[:1], rotated, mixed, *uniform) if v != value]
    if all(isinstance(v, int) for v in value):
        return [[v + 1 for v in value], value[:-1]]
    return []


def _literals(config_class: type[PreTrainedConfig], name: str) -> list[str]:
    """The choices of a field that is annotated with them."""
    hint = next((f.type for f in dataclasses.fields(config_class) if f.name == name), None)  # type: ignore[arg-type]
    members = get_args(hint) if get_origin(hint) is not Literal else (hint,)
    return [v for m in members if get_origin(m) is Literal for v in get_args(m) if isinstance(v, str)]


def _kinds_like(model_class: type, kind: str) -> list[str]:
    """Strings in the source of a model that end like a kind of layer (masks are looked up by them)."""
    source = inspect.getsource(sys.modules[model_class.__module__])
    return re.findall(rf"[\"'](\w+_{re.escape(kind.rpartition('_')[2])})[\"']", source) if "_" in kind else []


def compared_strings(model_class: type, name: str) -> list[str]:
    """Strings that the source of a model compares with an attribute of this name, or with an entry of it."""
    source = inspect.getsource(sys.modules[model_class.__module__])
    pattern = rf"\b{re.escape(name)}(?:\[\w+\])?\s*(?:==|!=|in)\s*[\[(]?\s*((?:[\"'][\w-]+[\"'],?\s*)+)"
    found = [word for group in re.findall(pattern, source) for word in re.findall(r"[\"']([\w-]+)[\"']", group)]
    return list(dict.fromkeys(found))
