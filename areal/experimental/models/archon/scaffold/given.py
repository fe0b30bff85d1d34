# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny copy of the config that the user named: everything that sets it apart from its class's default, but its sizes.

So that what is measured is the model that was asked for, and a value that is not computed is found by its field's name.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from transformers import PreTrainedConfig

from areal.experimental.models.archon.hf_fields import WITHOUT_INFLUENCE, is_dropout, is_off
from areal.experimental.models.archon.scaffold.findings import Refused, Unexplained
from areal.experimental.models.archon.scaffold.sensitivity import Sample, Study
from areal.experimental.models.archon.scaffold.tiny_config import (
    BUILD_ERRORS,
    MAX_SMALL,
    NUM_LAYERS,
    canonical,
    changed,
    shrink_rope_table,
    small_size,
    undeclared_fields,
)

ROPE = "rope_parameters"
_COMPUTATION = re.compile(
    r".*(scale|scaling|multiplier|factor|softcap\w*|rope\w*|pattern|window|window_size|chunk_size|layer_types)|clip_qkv|\w*alibi\w*"
)
"""Names of fields that are no description: a model that ignores them is not the one that was meant."""


def deviations(given: PreTrainedConfig, rope_width: int) -> dict[str, Any]:
    """Fields in which a config differs from its class's default, with values of tiny models.

    Left out are mere sizes, and factors and limits, which `alternatives` chooses so that a tiny model shows them.
    rope_width: channels of a tiny head that may rotate.
    """
    defaults, fields = type(given)().to_dict(), given.to_dict()
    derived = _derived_sizes(given, defaults)
    undeclared = {name: None for name in undeclared_fields(type(given)) if name in fields}
    found: dict[str, Any] = {}
    for name, default in (defaults | undeclared).items():
        value = fields.get(name)
        if name in WITHOUT_INFLUENCE or is_dropout(name) or name[0] == "_" or value == default or name in derived:
            continue
        if name == ROPE:
            found[name] = _tiny_rope(value, rope_width)
        elif isinstance(value, list):
            if (entries := _tiny_list(value, given.num_hidden_layers)) is not None:
                found[name] = entries
        elif isinstance(value, int) and not isinstance(value, bool):
            if value == 0:
                found[name] = 0  # no experts, no window: a size of nothing is a choice
                continue
            small = small_size(name, value, type(given))
            if small is not None and small == small_size(name, default, type(given)):
                continue
            if small is not None or value <= MAX_SMALL:
                found[name] = value if small is None else small
        elif not isinstance(value, dict) and not (isinstance(value, float) and value):
            found[name] = value
    return found


def unread_fields(given: PreTrainedConfig) -> dict[str, Any]:
    """Fields that neither the class nor its model knows, less those that are off: HF computes the same without them.

    Released configs have some, for programs other than transformers, or that say what its model always does. `Unexplained` for
    one that by its name asks for another computation.
    """
    known = {*type(given)().to_dict(), *undeclared_fields(type(given)), *WITHOUT_INFLUENCE}
    found = {
        name: value
        for name, value in given.to_dict().items()
        if name not in known and name[0] != "_" and not is_dropout(name) and not is_off(name, value)
    }
    asking = {name: value for name, value in found.items() if _COMPUTATION.fullmatch(name)}
    if asking:
        named = ", ".join(f"{name}={value!r}" for name, value in asking.items())
        what = (
            f"must be absent, since transformers' {type(given).__name__} has no such field and its model ignores it (got "
            f"{named}); delete what the model computes without from the config"
        )
        raise Unexplained(", ".join(asking), what, details={"field": ", ".join(asking), "got": named})
    return found


def observe(study: Study, tiny: PreTrainedConfig) -> Sample:
    """The sample of a tiny copy; `Unexplained` names the fields that the model differs by from one that is understood."""
    base, fields = study.base.to_dict(), tiny.to_dict()
    changes = {n: v for n, v in fields.items() if n not in WITHOUT_INFLUENCE and v != base.get(n)}
    try:
        return study.sample(tiny, changes)
    except Unexplained as error:
        guilty = {name: value for name, value in changes.items() if _is_guilty(study, name, value)} or changes
        error.what += f"; this follows from {', '.join(f'{n}={v!r}' for n, v in guilty.items())}"
        error.details["fields"] = guilty
        raise


def without_dropout(config: PreTrainedConfig) -> tuple[PreTrainedConfig, dict[str, Any]]:
    """A copy of a config that drops nothing, as `disable_dropout` makes it, and the probabilities that it had."""
    dropped = {name: value for name, value in config.to_dict().items() if is_dropout(name) and value}
    plain = copy.deepcopy(config)
    for name in dropped:
        setattr(plain, name, 0.0)
    return plain, dropped


def _derived_sizes(given: PreTrainedConfig, defaults: dict[str, Any]) -> set[str]:
    """Sizes that differ from the default only because the class derives them from others, and would of tiny ones too."""
    fields = given.to_dict()
    found: set[str] = set()
    for name, default in defaults.items():
        value = fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value == default:
            continue
        rest = {n: v for n, v in fields.items() if n != name}
        try:
            derives = type(given).from_dict(copy.deepcopy(rest)).to_dict().get(name) == value
        except BUILD_ERRORS:
            continue
        if derives:
            fields = rest
            found.add(name)
    return found


def _is_guilty(study: Study, name: str, value: Any) -> bool:
    """Whether a field alone makes the base a model that is not explained."""
    try:
        study.sample(canonical(changed(study.base, **{name: value})), {name: value})
    except (Unexplained, Refused):
        return True
    except BUILD_ERRORS:
        return False
    return False


def _tiny_rope(parameters: Any, width: int) -> Any:
    """Rotary parameters whose lengths are shorter than the probe, with as many factors as pairs of channels."""
    tables = copy.deepcopy(parameters)
    for table in (tables, *(t for t in (tables or {}).values() if isinstance(t, dict))):
        shrink_rope_table(table)
        pairs = int(width * (table.get("partial_rotary_factor") or 1.0)) // 2
        for name in ("short_factor", "long_factor"):
            if isinstance(table.get(name), list):
                table[name] = table[name][:pairs]
    return tables


def _tiny_list(entries: list[Any], depth: int) -> list[Any] | None:
    """All kinds of entries of a list with one a layer, in turn; layers of the tiny model in a list of layers."""
    if entries and len(entries) == depth and all(isinstance(e, str | bool) for e in entries):
        kinds = list(dict.fromkeys(entries))
        return [kinds[i % len(kinds)] for i in range(NUM_LAYERS)]
    if len(entries) != depth and all(isinstance(e, int) for e in entries):
        return [e for e in entries if e < NUM_LAYERS]
    return None
