# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Qwen2Moe: written by `areal archon new` out of what its HF model was measured to compute."""

from __future__ import annotations

from areal.experimental.models.archon.model_spec import ModelSpec
from areal.experimental.models.archon.qwen2_moe.infra.parallelize import parallelize_qwen2_moe
from areal.experimental.models.archon.qwen2_moe.model.args import Qwen2MoeModelArgs
from areal.experimental.models.archon.qwen2_moe.model.model import Qwen2MoeModel
from areal.experimental.models.archon.qwen2_moe.model.state_dict_adapter import Qwen2MoeStateDictAdapter

SPEC = ModelSpec(
    name="qwen2_moe",
    model_class=Qwen2MoeModel,
    model_args_class=Qwen2MoeModelArgs,
    state_dict_adapter_class=Qwen2MoeStateDictAdapter,
    parallelize_fn=parallelize_qwen2_moe,
    supported_model_types=frozenset({"qwen2_moe"}),
)
