# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Qwen3 (dense): RMSNorm over each query and key head before the rotation; head width is free of the hidden size."""

from __future__ import annotations

from areal.experimental.models.archon.model_spec import ModelSpec
from areal.experimental.models.archon.qwen3.infra.parallelize import parallelize_qwen3
from areal.experimental.models.archon.qwen3.model.args import Qwen3ModelArgs
from areal.experimental.models.archon.qwen3.model.model import Qwen3Model
from areal.experimental.models.archon.qwen3.model.state_dict_adapter import Qwen3StateDictAdapter

SPEC = ModelSpec(
    name="qwen3",
    model_class=Qwen3Model,
    model_args_class=Qwen3ModelArgs,
    state_dict_adapter_class=Qwen3StateDictAdapter,
    parallelize_fn=parallelize_qwen3,
    supported_model_types=frozenset({"qwen3"}),
)
