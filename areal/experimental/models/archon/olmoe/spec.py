# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Olmoe: written by `areal archon new` out of what its HF model was measured to compute."""

from __future__ import annotations

from areal.experimental.models.archon.model_spec import ModelSpec
from areal.experimental.models.archon.olmoe.infra.parallelize import parallelize_olmoe
from areal.experimental.models.archon.olmoe.model.args import OlmoeModelArgs
from areal.experimental.models.archon.olmoe.model.model import OlmoeModel
from areal.experimental.models.archon.olmoe.model.state_dict_adapter import OlmoeStateDictAdapter

SPEC = ModelSpec(
    name="olmoe",
    model_class=OlmoeModel,
    model_args_class=OlmoeModelArgs,
    state_dict_adapter_class=OlmoeStateDictAdapter,
    parallelize_fn=parallelize_olmoe,
    supported_model_types=frozenset({"olmoe"}),
)
