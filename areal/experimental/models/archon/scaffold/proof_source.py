# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the tests of a generated family: its proof on the configs that decided its options, refusals, parallel layouts."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from areal.experimental.models.archon.hf_fields import is_dropout
from areal.experimental.models.archon.scaffold.given import without_dropout
from areal.experimental.models.archon.scaffold.pipeline import Discovery
from areal.experimental.models.archon.scaffold.source import FamilySource

_META = ("transformers_version", "architectures", "_name_or_path", "dtype", "model_type")


def proof_files(discovery: Discovery, is_in_tree: bool, default: str) -> dict[str, str]:
    """Path below the test folder → text. Layouts are tested where areal's own test helpers are.

    default: what becomes of the class's default config: `read`, `refused`, or `unbuildable` by HF itself.
    """
    source = FamilySource(discovery.names, discovery.family)
    base = discovery.study.base.to_dict()
    files = {
        "__init__.py": source.render("package", summary=f"Tests of {discovery.names.title}."),
        "test_family.py": source.render(
            "test_family",
            base=_literal(_own_fields(base, discovery)),
            variants={repr(label): _literal(_changes(config, base)) for label, config in discovery.variants.items()},
            seeds=discovery.seeds,
            default=default,
            no_dropout=_no_dropout(discovery.study.base),
            asked=None if discovery.asked is None else _literal(_own_fields(discovery.asked, discovery)),
            refused=[(repr(f), _literal(v)) for f, v in discovery.refused_values()],
        ),
    }
    if is_in_tree:
        files["test_layouts.py"] = source.render("test_layouts", sizes=_sizes(discovery))
    return files


def _sizes(discovery: Discovery) -> list[str]:
    args = discovery.study.samples[0].observation.args
    sizes: list[dict[str, int]] = [{"tp": 2}, {"cp": 2}, {"dp_shard": 2}]
    if args.moe_layers:
        sizes.append({"dp_shard": 2, "ep": 2})
    return [repr(size) for size in sizes]


def _own_fields(base: dict[str, Any], discovery: Discovery) -> dict[str, Any]:
    """The fields of the tiny config that differ from the default config, without dropout, which no family computes."""
    own = {n: v for n, v in base.items() if n not in _META and v != discovery.study.default_of(n)}
    return own | {name: 0.0 for name, value in base.items() if is_dropout(name) and value}


def _changes(config: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in config.items() if n not in _META and (n not in base or base[n] != v)}


def _no_dropout(base: PreTrainedConfig) -> str:
    """Arguments of the default config in which nothing is dropped, as `disable_dropout` sets them."""
    dropped = without_dropout(type(base)())[1]
    return "".join(f", {name}=0.0" for name in dropped)


def _literal(value: Any) -> str:
    return repr(value)
