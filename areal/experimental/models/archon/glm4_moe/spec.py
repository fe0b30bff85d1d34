# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""GLM-4.5 and 4.6: DeepSeek-V3's experts behind grouped-query attention."""

from __future__ import annotations

from areal.experimental.models.archon.glm4_moe.infra.parallelize import parallelize_glm4_moe
from areal.experimental.models.archon.glm4_moe.model.args import Glm4MoeModelArgs
from areal.experimental.models.archon.glm4_moe.model.model import Glm4MoeModel
from areal.experimental.models.archon.glm4_moe.model.state_dict_adapter import Glm4MoeStateDictAdapter
from areal.experimental.models.archon.model_spec import ModelSpec

SPEC = ModelSpec(
    name="glm4_moe",
    model_class=Glm4MoeModel,
    model_args_class=Glm4MoeModelArgs,
    state_dict_adapter_class=Glm4MoeStateDictAdapter,
    parallelize_fn=parallelize_glm4_moe,
    supported_model_types=frozenset({"glm4_moe"}),
)
