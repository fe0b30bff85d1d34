# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Llama 2, 3, 3.x and everything that ships as `LlamaForCausalLM`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from areal.experimental.models.archon.args import DecoderArgs, dense_args_from_hf
from areal.experimental.models.archon.dense import dense_weight_map
from areal.experimental.models.archon.llama.infra.parallelize import parallelize_llama
from areal.experimental.models.archon.llama.model.args import LlamaModelArgs
from areal.experimental.models.archon.llama.model.model import LlamaModel
from areal.experimental.models.archon.llama.model.state_dict_adapter import LlamaStateDictAdapter
from areal.experimental.models.archon.model_spec import ModelSpec
from areal.experimental.models.archon.registry import ModelFamily


def args_from_hf(config: Mapping[str, Any]) -> DecoderArgs:
    """Arguments of `LlamaConfig.to_dict()`; raises `UnsupportedConfig`."""
    bias = config.get("attention_bias", False)
    return dense_args_from_hf(
        config, qkv_bias=bias, out_bias=bias, mlp_bias=config.get("mlp_bias", False), qk_norm=False
    )


FAMILY = ModelFamily(model_type="llama", args_from_hf=args_from_hf, weight_map=dense_weight_map)


SPEC = ModelSpec(
    name="llama",
    model_class=LlamaModel,
    model_args_class=LlamaModelArgs,
    state_dict_adapter_class=LlamaStateDictAdapter,
    parallelize_fn=parallelize_llama,
    supported_model_types=frozenset({"llama"}),
)
