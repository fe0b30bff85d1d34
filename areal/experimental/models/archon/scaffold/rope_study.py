# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Tries the entries of `rope_parameters`: base, share of the head, and every kind of table that checkpoints ship with.

Adds samples to a study; a kind that the family's module does not compute like ours is left out of the proven ones.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedConfig

from areal.experimental.models.archon.scaffold.findings import Refused, Unexplained
from areal.experimental.models.archon.scaffold.rotary import unknown_entries
from areal.experimental.models.archon.scaffold.sensitivity import Study
from areal.experimental.models.archon.scaffold.tiny_config import BUILD_ERRORS, canonical, model_source

_LENGTH = 16
_KINDS: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 2.5},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 3.0, "original_max_position_embeddings": _LENGTH},
    "llama3": {
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": _LENGTH,
    },
}
_ALPHA = {"rope_type": "dynamic", "factor": 1.0, "alpha": 3.0}
"""Of models whose source knows an alpha: a base that grows whatever the length."""
_YARN_MSCALE = {"mscale": 0.7, "mscale_all_dim": 1.2}


def study_ropes(study: Study) -> tuple[list[str], list[str]]:
    """Proven kinds of tables, and those that failed."""
    origin = next(
        (s for s in study.samples if s.observation.args.ropes), study.samples[0]
    )  # some turn it on by a switch
    parameters = origin.values.get("rope_parameters")
    if not parameters:
        return [], []
    tables = [parameters] if "rope_theta" in parameters else [t for t in parameters.values() if t]
    proven = list(dict.fromkeys(table.get("rope_type", "default") for table in tables))
    failed: list[str] = []
    widths = [table.rotary_dim for table in origin.observation.args.ropes.values()]
    for label, changed_parameters in _variants(origin.config, parameters, widths[0] if widths else 2):
        config = copy.deepcopy(origin.config)
        config.rope_parameters = changed_parameters
        if label == "dynamic":
            config.max_position_embeddings = _LENGTH
        outcome = _try(study, config, {**origin.changes, "rope_parameters": label})
        if label in _KINDS or label in ("longrope", "ntk_alpha"):
            (proven if outcome else failed).append(label)
    proven = list(dict.fromkeys(kind for kind in proven if kind not in failed))
    return proven, failed


def _try(study: Study, config: PreTrainedConfig, changes: dict[str, Any]) -> bool:
    try:
        config = canonical(config)
        study.samples.append(study.sample(config, changes))
    except (Unexplained, Refused, *BUILD_ERRORS):
        return False
    return True


def _variants(
    study_base: PreTrainedConfig, parameters: dict[str, Any], width: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Changed copies: of the only table, or of each layer type's table in turn."""
    is_flat = "rope_type" in parameters or "rope_theta" in parameters
    names = [None] if is_flat else [name for name, table in parameters.items() if table]
    for name in names:
        table = parameters if name is None else parameters[name]
        others = unknown_entries(study_base)
        kept = ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings", *others)
        base = {k: v for k, v in table.items() if k in kept}
        share = 0.5 if base.get("partial_rotary_factor", 1.0) == 1.0 else 1.0
        tables = [
            ("theta", {**table, "rope_theta": table["rope_theta"] * 0.03}),
            ("share", {**table, "partial_rotary_factor": share}),
        ]
        tables += [(kind, {**base, "rope_type": kind, **extra}) for kind, extra in _KINDS.items()]
        factors = {
            "short_factor": [1.0 + 0.1 * n for n in range(width // 2)],
            "long_factor": [2.0 + 0.5 * n for n in range(width // 2)],
        }
        longrope = {**base, "rope_type": "longrope", **factors, "original_max_position_embeddings": _LENGTH}
        tables.append(("longrope", longrope))
        if reads_alpha(type(study_base)):
            tables.append(("ntk_alpha", {**base, **_ALPHA}))
        tables += [(key, {**table, key: _other(value)}) for key, value in table.items() if _is_number(value)]
        tables.append(("yarn mscale", {**base, "rope_type": "yarn", **_KINDS["yarn"], **_YARN_MSCALE}))
        for label, changed in tables:
            yield label, changed if name is None else {**parameters, name: changed}


def reads_alpha(config_class: type[PreTrainedConfig]) -> bool:
    """Whether the source of a model reads an alpha of its rotary parameters."""
    return re.search(r"rope_parameters(?:\.get\(|\[)[\"']alpha[\"']", model_source(config_class)) is not None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _other(value: float) -> float:
    """Another value of an entry; of a length, a shorter one, which the probe reaches sooner."""
    return value // 2 if isinstance(value, int) and value > 1 else value * 1.7
