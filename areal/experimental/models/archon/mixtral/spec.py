# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Mixtral: Mistral with experts in all layers."""

from __future__ import annotations

from areal.experimental.models.archon.mixtral.infra.parallelize import parallelize_mixtral
from areal.experimental.models.archon.mixtral.model.args import MixtralModelArgs
from areal.experimental.models.archon.mixtral.model.model import MixtralModel
from areal.experimental.models.archon.mixtral.model.state_dict_adapter import MixtralStateDictAdapter
from areal.experimental.models.archon.model_spec import ModelSpec

SPEC = ModelSpec(
    name="mixtral",
    model_class=MixtralModel,
    model_args_class=MixtralModelArgs,
    state_dict_adapter_class=MixtralStateDictAdapter,
    parallelize_fn=parallelize_mixtral,
    supported_model_types=frozenset({"mixtral"}),
)
