# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""GLM-4 9B: half of each head rotates, in interleaved pairs."""

from __future__ import annotations

from areal.experimental.models.archon.glm.infra.parallelize import parallelize_glm
from areal.experimental.models.archon.glm.model.args import GlmModelArgs
from areal.experimental.models.archon.glm.model.model import GlmModel
from areal.experimental.models.archon.glm.model.state_dict_adapter import GlmStateDictAdapter
from areal.experimental.models.archon.model_spec import ModelSpec

SPEC = ModelSpec(
    name="glm",
    model_class=GlmModel,
    model_args_class=GlmModelArgs,
    state_dict_adapter_class=GlmStateDictAdapter,
    parallelize_fn=parallelize_glm,
    supported_model_types=frozenset({"glm"}),
)
