# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the tests of a generated family: its proof on the configs that decided its options, refusals, parallel layouts."""

from __future__ import annotations

from typing import Any, Literal

from areal.experimental.models.archon.hf_fields import is_dropout
from areal.experimental.models.archon.proof.family import two_rank_layouts
from areal.experimental.models.archon.scaffold.given import without_dropout
from areal.experimental.models.archon.scaffold.pipeline import Discovery
from areal.experimental.models.archon.scaffold.source import FamilySource

_META = ("transformers_version", "architectures", "_name_or_path", "dtype", "model_type")
DefaultConfig = Literal["read", "refused", "unbuildable"]
"""What becomes of the default config of the class: the family reads it or refuses it, or HF itself cannot build it."""


def proof_files(discovery: Discovery, is_in_tree: bool, default: DefaultConfig) -> dict[str, str]:
    """Path below the test folder → text. Layouts are tested where areal's own test helpers are."""
    source = FamilySource(discovery.names, discovery.family)
    base = discovery.study.base.to_dict()
    no_dropout = dict.fromkeys(without_dropout(type(discovery.study.base)())[1], 0.0)
    whole = {"default": no_dropout} if default == "read" else {}
    if discovery.asked is not None:
        whole["asked"] = _own_fields(discovery.asked, discovery)
    files = {
        "__init__.py": source.render("package", summary=f"Tests of {discovery.names.title}."),
        "test_family.py": source.render(
            "test_family",
            base=_own_fields(base, discovery),
            variants={label: _changes(config, base) for label, config in discovery.variants.items()},
            seeds=discovery.seeds,
            whole=whole,
            is_default_refused=default == "refused",
            no_dropout=no_dropout,
            refused=discovery.refused_values(),
        ),
    }
    if is_in_tree:
        args = discovery.study.samples[0].observation.args
        files["test_layouts.py"] = source.render("test_layouts", layouts=two_rank_layouts(args))
    return files


def _own_fields(base: dict[str, Any], discovery: Discovery) -> dict[str, Any]:
    """The fields of the tiny config that differ from the default config, without dropout, which no family computes."""
    own = {n: v for n, v in base.items() if n not in _META and v != discovery.study.default_of(n)}
    return own | {name: 0.0 for name, value in base.items() if is_dropout(name) and value}


def _changes(config: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in config.items() if n not in _META and (n not in base or base[n] != v)}
