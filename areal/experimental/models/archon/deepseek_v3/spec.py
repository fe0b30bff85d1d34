# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""DeepSeek-V3, R1 and Kimi K2: latent attention, sigmoid routing without auxiliary losses."""

from __future__ import annotations

from areal.experimental.models.archon.deepseek_v3.infra.parallelize import parallelize_deepseek_v3
from areal.experimental.models.archon.deepseek_v3.model.args import DeepseekV3ModelArgs
from areal.experimental.models.archon.deepseek_v3.model.model import DeepseekV3Model
from areal.experimental.models.archon.deepseek_v3.model.state_dict_adapter import DeepseekV3StateDictAdapter
from areal.experimental.models.archon.model_spec import ModelSpec

SPEC = ModelSpec(
    name="deepseek_v3",
    model_class=DeepseekV3Model,
    model_args_class=DeepseekV3ModelArgs,
    state_dict_adapter_class=DeepseekV3StateDictAdapter,
    parallelize_fn=parallelize_deepseek_v3,
    supported_model_types=frozenset({"deepseek_v3"}),
)
