# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a family can run what the user named: its config at full size, and the tensors of its checkpoint.

Called by `command` before anything is measured, and between staging and the generated tests. Reads headers of safetensors files, never weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedConfig

from areal.experimental.models.archon.base import UnsupportedConfig
from areal.experimental.models.archon.hf_fields import HFFields
from areal.experimental.models.archon.model_spec import ModelSpec
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.given import unread_fields, without_dropout
from areal.experimental.models.archon.scaffold.request import Request
from areal.experimental.models.archon.scaffold.rotary import known_tables
from areal.experimental.models.archon.scaffold.sensitivity import Study
from areal.experimental.models.archon.scaffold.tiny_config import BUILD_ERRORS, MAX_SMALL, undeclared_fields
from areal.experimental.models.archon.weights.map import WeightMap
from areal.utils.errors import CheckpointError

_HEAD_DIM = 16
"""Any width: only the kinds of rotary tables are looked at."""


def check(config: PreTrainedConfig | None) -> None:
    """Raise `Unexplained` for a config that no family can run: HF does not build it, or its class lacks a field."""
    if config is None:
        return
    try:
        hf = HFFields(without_dropout(config)[0])
        if hf("rope_parameters", None):
            known_tables(config, _HEAD_DIM, "half")
        _names_of(config)
        hf.ignore(*type(config)().to_dict(), *undeclared_fields(type(config)), *unread_fields(config))
        hf.finish()
    except UnsupportedConfig as error:
        raise Unexplained(error.field, _must_be(error), details={"field": error.field}) from error


def expect_sizes(study: Study, expected: Mapping[str, Sequence[Any]]) -> None:
    """Raise `Unexplained` for a family that holds for the tiny size of something only, and so for no real model."""
    for name, allowed in expected.items():
        default, field = study.default_of(name), study.fields.get(name)
        if field is None or isinstance(default, bool) or not isinstance(default, int) or default <= MAX_SMALL:
            continue
        if default not in allowed:
            reasons = {reason for _, reason in field.unexplained}
            raise Unexplained(
                name,
                f"was understood at {', '.join(map(repr, allowed))} only, the class's default is {default!r}"
                + (f": {min(reasons)}" if reasons else ""),
                details={"field": name, "tried": [{"value": repr(v), "reason": r} for v, r in field.unexplained]},
            )


def accept(spec: ModelSpec, request: Request, study: Study) -> str:
    """Raise `Unexplained` naming the field or tensor that the family does not run; returns a warning, or nothing."""
    if request.config is None:
        return ""
    config, dropped = without_dropout(request.config)
    try:
        args = spec.model_args_class.from_hf_config(config)  # type: ignore[attr-defined]
    except UnsupportedConfig as error:
        raise _refusal(error, study) from error
    except TypeError as error:  # a size that is None
        raise Unexplained("config", str(error)) from error
    try:
        weights = spec.state_dict_adapter_class(args).weight_map
    except ValueError as error:  # of a layer: sizes that do not fit together
        raise Unexplained("config", str(error)) from error
    try:
        weights.plan(_names_of(config))
        if request.folder is not None and (tensors := _headers(request.folder)):
            _read(weights, tensors)
    except CheckpointError as error:
        raise Unexplained("weights", str(error)) from error
    warnings = []
    if dropped:
        named = _named(dropped)
        warnings.append(f"the config drops activations ({named}), which is refused unless disable_dropout is set")
    if unread := unread_fields(request.config):
        named = _named(unread)
        warnings.append(f"transformers' model does not read {named}; the family accepts these values only")
    return "; ".join(warnings)


def _named(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def _refusal(error: UnsupportedConfig, study: Study) -> Unexplained:
    """The refusal of a field together with what was measured about it."""
    name = error.field.partition(".")[0]
    known = study.fields.get(name)
    tried = [] if known is None else [(value, reason) for value, reason in known.unexplained]
    reason = next((why for value, why in tried if value == error.got), "")
    details: dict[str, Any] = {"field": error.field, "expected": error.expected, "got": repr(error.got)}
    details["tried"] = [{"value": repr(value), "reason": why} for value, why in tried]
    return Unexplained(error.field, _must_be(error) + (f": {reason}" if reason else ""), details=details)


def _must_be(error: UnsupportedConfig) -> str:
    return f"must be {error.expected}, got {error.got!r}"


def _names_of(config: PreTrainedConfig) -> list[str]:
    """Names of the HF model's tensors; `Unexplained` where HF cannot build it."""
    try:
        with torch.device("meta"):
            return list(AutoModelForCausalLM.from_config(config).state_dict())
    except BUILD_ERRORS as error:
        raise Unexplained("config", f"transformers builds no model of it: {type(error).__name__}: {error}") from error


def _headers(folder: Path) -> dict[str, Tensor]:
    """Names and shapes of a checkpoint's tensors, as tensors without values."""
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                found[name] = torch.empty(file.get_slice(name).get_shape(), device="meta")
    return found


def _read(weights: WeightMap, tensors: dict[str, Tensor]) -> None:
    """Find a place of the right shape for every tensor; `CheckpointError` otherwise."""
    for entry in weights.plan(tensors):
        entry.to_ours(tensors)
