# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""From the `model_type` of an HF config to the family that runs it.

`families.py` lists the families of this package; code outside registers its own with `register_model_spec`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from areal.experimental.models.archon.base import UnsupportedConfig
from areal.experimental.models.archon.families import FAMILIES
from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.weights.adapter import StateDictAdapter


class ParallelizeFn(Protocol):
    """Makes a model parallel in place, in the fixed order of `parallel.parallelize`."""

    def __call__(self, model: ArchonModel, parallel_dims: Any, **options: Any) -> nn.Module:
        """See `parallel.parallelize.parallelize_decoder`."""
        ...


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What a family is made of."""

    name: str
    model_class: type[ArchonModel]
    model_args_class: type[DecoderArgs]
    state_dict_adapter_class: type[StateDictAdapter]
    parallelize_fn: ParallelizeFn
    supported_model_types: frozenset[str]


_registered: dict[str, ModelSpec] = {}


def register_model_spec(spec: ModelSpec) -> ModelSpec:
    """Make a family of another package known; `ValueError` when one of its model types has a family already."""
    for model_type in sorted(spec.supported_model_types):
        if is_supported_model(model_type):
            raise ValueError(f"expected a model type without a family, got {model_type!r}; remove one of the two")
    _registered.update(dict.fromkeys(spec.supported_model_types, spec))
    return spec


def get_model_spec(model_type: str) -> ModelSpec:
    """The family of an HF `model_type`; `UnsupportedConfig` naming the types there are."""
    if model_type in _registered:
        return _registered[model_type]
    if model_type not in FAMILIES:
        known = ", ".join(sorted(get_supported_model_types()))
        remedy = f"write the family: areal archon new {model_type}"
        raise UnsupportedConfig("model_type", f"one of {known}", model_type, remedy)
    return importlib.import_module(FAMILIES[model_type]).SPEC


def is_supported_model(model_type: str) -> bool:
    """Whether a family runs this `model_type`."""
    return model_type in get_supported_model_types()


def get_supported_model_types() -> frozenset[str]:
    """All HF `model_type`s that Archon runs."""
    return frozenset(FAMILIES) | frozenset(_registered)
