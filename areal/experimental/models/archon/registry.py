# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""From the `model_type` of an HF config to the family that runs it. A new family is one entry here and one `spec.py`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from areal.experimental.models.archon.args import DecoderArgs, UnsupportedConfig
from areal.experimental.models.archon.weight_map import WeightMap

_SPECS = {
    "llama": "areal.experimental.models.archon.llama.spec",
    "qwen2": "areal.experimental.models.archon.qwen2.spec",
    "qwen3": "areal.experimental.models.archon.qwen3.spec",
}


@dataclass(frozen=True, kw_only=True)
class ModelFamily:
    """What a family adds to the shared layers: its reading of the HF config and its weight names."""

    model_type: str
    args_from_hf: Callable[[Mapping[str, Any]], DecoderArgs]
    weight_map: Callable[[DecoderArgs], WeightMap]


def supported_model_types() -> list[str]:
    """The HF `model_type`s Archon runs."""
    return sorted(_SPECS)


def family_of(model_type: str) -> ModelFamily:
    """The family of an HF `model_type`; raises `UnsupportedConfig` naming the types there are."""
    if model_type not in _SPECS:
        raise UnsupportedConfig("model_type", f"one of {', '.join(supported_model_types())}", model_type)
    return importlib.import_module(_SPECS[model_type]).FAMILY
