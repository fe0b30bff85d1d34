# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Qwen3 (dense): RMSNorm over each query and key head before the rotation; head width is free of the hidden size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from areal.experimental.models.archon.args import DecoderArgs, dense_args_from_hf
from areal.experimental.models.archon.dense import dense_weight_map
from areal.experimental.models.archon.model_spec import ModelSpec
from areal.experimental.models.archon.qwen3.infra.parallelize import parallelize_qwen3
from areal.experimental.models.archon.qwen3.model.args import Qwen3ModelArgs
from areal.experimental.models.archon.qwen3.model.model import Qwen3Model
from areal.experimental.models.archon.qwen3.model.state_dict_adapter import Qwen3StateDictAdapter
from areal.experimental.models.archon.registry import ModelFamily


def args_from_hf(config: Mapping[str, Any]) -> DecoderArgs:
    """Arguments of `Qwen3Config.to_dict()`; raises `UnsupportedConfig`."""
    bias = config.get("attention_bias", False)
    return dense_args_from_hf(config, qkv_bias=bias, out_bias=bias, mlp_bias=False, qk_norm=True)


FAMILY = ModelFamily(model_type="qwen3", args_from_hf=args_from_hf, weight_map=dense_weight_map)


SPEC = ModelSpec(
    name="qwen3",
    model_class=Qwen3Model,
    model_args_class=Qwen3ModelArgs,
    state_dict_adapter_class=Qwen3StateDictAdapter,
    parallelize_fn=parallelize_qwen3,
    supported_model_types=frozenset({"qwen3"}),
)
