# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Qwen2 and Qwen2.5 (dense): biases on queries, keys and values, always."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from areal.experimental.models.archon.args import DecoderArgs, dense_args_from_hf
from areal.experimental.models.archon.dense import dense_weight_map
from areal.experimental.models.archon.model_spec import ModelSpec
from areal.experimental.models.archon.qwen2.infra.parallelize import parallelize_qwen2
from areal.experimental.models.archon.qwen2.model.args import Qwen2ModelArgs
from areal.experimental.models.archon.qwen2.model.model import Qwen2Model
from areal.experimental.models.archon.qwen2.model.state_dict_adapter import Qwen2StateDictAdapter
from areal.experimental.models.archon.registry import ModelFamily


def args_from_hf(config: Mapping[str, Any]) -> DecoderArgs:
    """Arguments of `Qwen2Config.to_dict()`; raises `UnsupportedConfig`."""
    return dense_args_from_hf(config, qkv_bias=True, out_bias=False, mlp_bias=False, qk_norm=False)


FAMILY = ModelFamily(model_type="qwen2", args_from_hf=args_from_hf, weight_map=dense_weight_map)


SPEC = ModelSpec(
    name="qwen2",
    model_class=Qwen2Model,
    model_args_class=Qwen2ModelArgs,
    state_dict_adapter_class=Qwen2StateDictAdapter,
    parallelize_fn=parallelize_qwen2,
    supported_model_types=frozenset({"qwen2"}),
)
