# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Fields that no config can change alone: tried together with an equal one, with the number of heads, or in proportion.

Called by `pipeline` after `Study.run`; adds samples, and what they say of the fields, to the study.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from transformers import PreTrainedConfig

from areal.experimental.models.archon.scaffold.findings import Refused, Unexplained
from areal.experimental.models.archon.scaffold.hf_model import build, random_tokens
from areal.experimental.models.archon.scaffold.sensitivity import (
    FieldStudy,
    Study,
    fields_of,
    is_same,
    logits_with_weights_of,
    plain_logits,
)
from areal.experimental.models.archon.scaffold.tiny_config import BUILD_ERRORS, canonical, changed

_PROPORTIONS = ((2, 2), (2, 0.5), (0.5, 2), (0.5, 0.5))
_MAX_PROPORTIONS = 2
"""Observations of a size together with others: with one, the other size could explain all that changed."""


def try_combinations(study: Study) -> None:
    """Everything below, where single changes left a field open."""
    _try_together(study)
    _try_with_equal_heads(study)
    _try_in_proportion(study)


def _try_together(study: Study) -> None:
    """Fields that cannot change alone may follow an equal one (as many key heads as query heads)."""
    sizes = {n: v for n, v in fields_of(study.base).items() if isinstance(v, int) and not isinstance(v, bool)}
    for name, value in sizes.items():
        field_study = study.fields[name]
        if not value or field_study.explained or (field_study.was_tried and not field_study.has_influence):
            continue
        for other in (n for n, v in sizes.items() if v == value and n != name and n not in study.tied):
            try:
                config = canonical(changed(study.base, **{name: value * 2, other: value * 2}))
                study.samples.append(study.sample(config, {name: value * 2, other: value * 2}))
            except (Unexplained, Refused, *BUILD_ERRORS):
                continue
            field_study.has_influence, study.tied[name] = True, other
            break


def _try_with_equal_heads(study: Study) -> None:
    """Switches that no model with grouped heads can have may go with as many key heads as query heads."""
    fields = fields_of(study.base)
    heads = {n: study.base.num_attention_heads for n in ("num_key_value_heads", "num_kv_heads") if n in fields}
    for name, value in fields.items():
        if not heads or not isinstance(value, bool) or study.fields[name].was_tried:
            continue
        change = {name: not value, **heads}
        try:
            study.samples.append(study.sample(canonical(changed(study.base, **change)), change))
        except (Unexplained, Refused, *BUILD_ERRORS):
            continue
        field_study = study.fields[name]
        field_study.was_tried = field_study.has_influence = True
        field_study.explained.append(not value)


def _try_in_proportion(study: Study) -> None:
    """Sizes bound by a product (heads times their width are the hidden size) change together with another one.

    Without this an option that follows from such a size would look like a constant, and sizes of layers that a model
    does not have would look like ones that matter.
    """
    sizes = {n: v for n, v in fields_of(study.base).items() if isinstance(v, int) and not isinstance(v, bool)}
    stuck = [n for n in sizes if n not in study.tied and _is_stuck(study.fields[n])]
    for name in stuck:
        others = [n for n in sizes if n != name]
        if is_idle_in_proportion(study, name, [n for n in others if n in stuck]):
            continue
        for change, config in _in_proportion(study, name, others):
            try:
                study.samples.append(study.sample(config, change))
            except (Unexplained, Refused, *BUILD_ERRORS):
                continue
            study.fields[name].has_influence = True
            study.fields[name].explained.append(change[name])
            if len(study.fields[name].explained) == _MAX_PROPORTIONS:
                break


def _in_proportion(study: Study, name: str, others: Sequence[str]) -> Iterator[tuple[dict[str, Any], PreTrainedConfig]]:
    """Changes of a size together with another one, and their configs."""
    sizes = fields_of(study.base)
    for other, (factor, other_factor) in product(others, _PROPORTIONS):
        change = {name: int(sizes[name] * factor), other: int(sizes[other] * other_factor)}
        try:
            config = canonical(changed(study.base, **change))
        except BUILD_ERRORS:
            continue
        if all(fields_of(config).get(field_name) == value for field_name, value in change.items()):
            yield change, config


def is_idle_in_proportion(study: Study, name: str, others: Sequence[str]) -> bool:
    """Whether a size changes nothing together with one of the others: both belong to layers that are not there."""
    model, tokens = build(study.base, study.seed), random_tokens(study.base, study.seed)
    expected = plain_logits(model, tokens)
    idle: dict[str, list[int]] = {other: [] for other in others}
    for change, config in _in_proportion(study, name, others):
        (_, value), (other, _) = change.items()
        try:
            if is_same(logits_with_weights_of(model, config, tokens, study.seed), expected):
                idle[other].append(value)
        except BUILD_ERRORS:
            continue
    values = max(idle.values(), key=len, default=[])
    if len(values) < _MAX_PROPORTIONS:
        return False
    study.fields[name].was_tried = True
    study.fields[name].idle += values
    return True


def _is_stuck(field_study: FieldStudy) -> bool:
    """Whether no other value of a field that may matter was understood."""
    return not field_study.explained and (field_study.has_influence or not field_study.was_tried)
