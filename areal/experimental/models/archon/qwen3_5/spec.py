# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Qwen3.5 (text), dense and with experts: three gated DeltaNet layers to one of gated attention."""

from __future__ import annotations

from areal.experimental.models.archon.model_spec import ModelSpec
from areal.experimental.models.archon.qwen3_5.infra.parallelize import parallelize_qwen3_5
from areal.experimental.models.archon.qwen3_5.model.args import Qwen35ModelArgs
from areal.experimental.models.archon.qwen3_5.model.model import Qwen35Model
from areal.experimental.models.archon.qwen3_5.model.state_dict_adapter import Qwen35StateDictAdapter

SPEC = ModelSpec(
    name="qwen3_5",
    model_class=Qwen35Model,
    model_args_class=Qwen35ModelArgs,
    state_dict_adapter_class=Qwen35StateDictAdapter,
    parallelize_fn=parallelize_qwen3_5,
    supported_model_types=frozenset({"qwen3_5", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_5_text"}),
)
