# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Qwen2 and Qwen2.5 (dense): biases on queries, keys and values, always."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from areal.experimental.models.archon.args import DecoderArgs, dense_args_from_hf
from areal.experimental.models.archon.dense import dense_weight_map
from areal.experimental.models.archon.registry import ModelFamily


def args_from_hf(config: Mapping[str, Any]) -> DecoderArgs:
    """Arguments of `Qwen2Config.to_dict()`; raises `UnsupportedConfig`."""
    return dense_args_from_hf(config, qkv_bias=True, out_bias=False, mlp_bias=False, qk_norm=False)


FAMILY = ModelFamily(model_type="qwen2", args_from_hf=args_from_hf, weight_map=dense_weight_map)
