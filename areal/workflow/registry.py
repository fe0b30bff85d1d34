# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Workflows by name, as configurations and scripts name them. Must never import a workflow before it is asked for."""

from __future__ import annotations

from typing import Any

from areal.api.config.fields import suggestion
from areal.utils.dynamic_import import import_from_string
from areal.utils.errors import ConfigError

WORKFLOWS: dict[str, str] = {
    "rlvr": "areal.workflow.rlvr.RLVRWorkflow",
}
"""Name -> where the class is."""


def find_workflow(name: str) -> Any:
    """What a registered name or a dotted path names; `ConfigError` for anything else."""
    if name in WORKFLOWS:
        return import_from_string(WORKFLOWS[name])
    if "." not in name and ":" not in name:
        hint = suggestion(name, WORKFLOWS) or f" Registered: {', '.join(sorted(WORKFLOWS))}."
        raise ConfigError(f"no workflow is registered as {name!r}.{hint} A dotted path works too.")
    return import_from_string(name)
