# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Qwen3 (dense): RMSNorm over each query and key head before the rotation; head width is free of the hidden size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from areal.experimental.models.archon.args import DecoderArgs, dense_args_from_hf
from areal.experimental.models.archon.dense import dense_weight_map
from areal.experimental.models.archon.registry import ModelFamily


def args_from_hf(config: Mapping[str, Any]) -> DecoderArgs:
    """Arguments of `Qwen3Config.to_dict()`; raises `UnsupportedConfig`."""
    bias = config.get("attention_bias", False)
    return dense_args_from_hf(config, qkv_bias=bias, out_bias=bias, mlp_bias=False, qk_norm=True)


FAMILY = ModelFamily(model_type="qwen3", args_from_hf=args_from_hf, weight_map=dense_weight_map)
