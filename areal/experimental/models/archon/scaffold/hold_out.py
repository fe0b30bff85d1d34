# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The last test of a staged family: the configs of `areal archon check`, whose sizes discovery did not choose.

Called by `command` after the generated tests. What it finds is a family that accepts a config and computes something else,
which no refusal protects its user from. A config that HF cannot build, or the family refuses, says nothing.
"""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedConfig

from areal.experimental.models.archon.base import UnsupportedConfig
from areal.experimental.models.archon.model_spec import ModelSpec
from areal.experimental.models.archon.proof.case import Case, CheckResult
from areal.experimental.models.archon.proof.run import prove_config
from areal.experimental.models.archon.proof.tiny import tiny_configs
from areal.experimental.models.archon.scaffold.tiny_config import BUILD_ERRORS

MAX_REFUSALS = 12
"""Fields of a config that may go back to the observed value before it is given up."""


def failures(spec: ModelSpec, model_type: str, observed: PreTrainedConfig) -> list[CheckResult]:
    """Failed checks. observed: a config that the family runs, whose values replace what it refuses."""
    try:
        configs = tiny_configs(model_type)
    except BUILD_ERRORS:
        return []
    found: list[CheckResult] = []
    for index, config in enumerate(configs):
        taken = _taken(spec, config, observed)
        if taken is not None and has_oracle(taken):
            results = prove_config(spec, taken, label=f"{model_type}[{index}]")
            found += [result for result in results if not result.passed]
    return found


def _taken(spec: ModelSpec, config: PreTrainedConfig, observed: PreTrainedConfig) -> PreTrainedConfig | None:
    """The config with observed values where the family refuses its own; None if that is not enough."""
    known = observed.to_dict()
    replaced: set[str] = set()
    for _ in range(MAX_REFUSALS):
        try:
            spec.model_args_class.from_hf_config(config)  # type: ignore[attr-defined]
        except UnsupportedConfig as error:
            name = error.field.partition(".")[0]
            if name in replaced or name not in known:
                return None
            replaced.add(name)
            try:
                config = type(config).from_dict({**config.to_dict(), name: known[name]})
            except BUILD_ERRORS:
                return None
        except BUILD_ERRORS:  # sizes that do not fit together
            return None
        else:
            return config
    return None


def has_oracle(config: PreTrainedConfig, seed: int = 0) -> bool:
    """Whether HF builds a random model of a config that rounding does not move."""
    case = Case(None, config, Path(), seed=seed)  # type: ignore[arg-type] - only its HF model is made
    try:
        return case.hf_model is not None
    except BUILD_ERRORS:
        return False
