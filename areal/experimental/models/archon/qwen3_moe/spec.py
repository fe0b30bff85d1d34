# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Qwen3 with experts (30B-A3B, 235B-A22B)."""

from __future__ import annotations

from areal.experimental.models.archon.model_spec import ModelSpec
from areal.experimental.models.archon.qwen3_moe.infra.parallelize import parallelize_qwen3_moe
from areal.experimental.models.archon.qwen3_moe.model.args import Qwen3MoeModelArgs
from areal.experimental.models.archon.qwen3_moe.model.model import Qwen3MoeModel
from areal.experimental.models.archon.qwen3_moe.model.state_dict_adapter import Qwen3MoeStateDictAdapter

SPEC = ModelSpec(
    name="qwen3_moe",
    model_class=Qwen3MoeModel,
    model_args_class=Qwen3MoeModelArgs,
    state_dict_adapter_class=Qwen3MoeStateDictAdapter,
    parallelize_fn=parallelize_qwen3_moe,
    supported_model_types=frozenset({"qwen3_moe"}),
)
