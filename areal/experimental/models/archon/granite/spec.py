# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Granite 3: Llama with four multipliers."""

from __future__ import annotations

from areal.experimental.models.archon.granite.infra.parallelize import parallelize_granite
from areal.experimental.models.archon.granite.model.args import GraniteModelArgs
from areal.experimental.models.archon.granite.model.model import GraniteModel
from areal.experimental.models.archon.granite.model.state_dict_adapter import GraniteStateDictAdapter
from areal.experimental.models.archon.model_spec import ModelSpec

SPEC = ModelSpec(
    name="granite",
    model_class=GraniteModel,
    model_args_class=GraniteModelArgs,
    state_dict_adapter_class=GraniteStateDictAdapter,
    parallelize_fn=parallelize_granite,
    supported_model_types=frozenset({"granite"}),
)
