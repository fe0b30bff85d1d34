# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Mistral 7B and its successors: Llama with a window on all layers."""

from __future__ import annotations

from areal.experimental.models.archon.mistral.infra.parallelize import parallelize_mistral
from areal.experimental.models.archon.mistral.model.args import MistralModelArgs
from areal.experimental.models.archon.mistral.model.model import MistralModel
from areal.experimental.models.archon.mistral.model.state_dict_adapter import MistralStateDictAdapter
from areal.experimental.models.archon.model_spec import ModelSpec

SPEC = ModelSpec(
    name="mistral",
    model_class=MistralModel,
    model_args_class=MistralModelArgs,
    state_dict_adapter_class=MistralStateDictAdapter,
    parallelize_fn=parallelize_mistral,
    supported_model_types=frozenset({"mistral"}),
)
