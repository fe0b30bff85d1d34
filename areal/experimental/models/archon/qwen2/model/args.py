# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of Qwen2 and Qwen2.5: biases on queries, keys and values, always."""

from __future__ import annotations

from typing import Self

from transformers import PreTrainedConfig

from areal.experimental.models.archon.base import BaseModelArgs
from areal.experimental.models.archon.hf_config import decoder_fields
from areal.experimental.models.archon.hf_fields import reading
from areal.experimental.models.archon.hf_layers import (
    attention_args,
    by_layer_type,
    ffn_args,
    pre_norm_layers,
)
from areal.experimental.models.archon.model_args import DecoderArgs, NormArgs
from areal.experimental.models.archon.qwen2.model.rope import ropes


class Qwen2ModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `Qwen2Config`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            norm = NormArgs(eps=hf("rms_norm_eps"))
            attention = attention_args(hf, qkv_bias=True)
            tables = ropes(hf, attention.head_dim)
            hf.ignore("use_sliding_window", "max_window_layers")  # made into layer_types by HF
            mixers = by_layer_type(hf, attention, tables)
            layers = pre_norm_layers(hf, mixers, ffn_args(hf), norm)
            return cls(**decoder_fields(hf, is_critic), layers=layers, final_norm=norm, ropes=tables)
