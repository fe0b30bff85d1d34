# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""DeepSeek-V2 and V2-Lite: latent attention, softmax routing within groups."""

from __future__ import annotations

from areal.experimental.models.archon.deepseek_v2.infra.parallelize import parallelize_deepseek_v2
from areal.experimental.models.archon.deepseek_v2.model.args import DeepseekV2ModelArgs
from areal.experimental.models.archon.deepseek_v2.model.model import DeepseekV2Model
from areal.experimental.models.archon.deepseek_v2.model.state_dict_adapter import DeepseekV2StateDictAdapter
from areal.experimental.models.archon.model_spec import ModelSpec

SPEC = ModelSpec(
    name="deepseek_v2",
    model_class=DeepseekV2Model,
    model_args_class=DeepseekV2ModelArgs,
    state_dict_adapter_class=DeepseekV2StateDictAdapter,
    parallelize_fn=parallelize_deepseek_v2,
    supported_model_types=frozenset({"deepseek_v2"}),
)
