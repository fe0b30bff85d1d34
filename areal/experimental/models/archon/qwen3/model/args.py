# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of Qwen3: queries and keys normalised head by head, head width free of the hidden size."""

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
from areal.experimental.models.archon.model_args import DecoderArgs, NormArgs, QKNormArgs
from areal.experimental.models.archon.qwen3.model.rope import ropes


class Qwen3ModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `Qwen3Config`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            norm = NormArgs(eps=hf("rms_norm_eps"))
            bias = hf("attention_bias")
            attention = attention_args(hf, qkv_bias=bias, out_bias=bias, qk_norm=QKNormArgs(norm=norm))
            tables = ropes(hf, attention.head_dim)
            hf.ignore("use_sliding_window", "max_window_layers")  # made into layer_types by HF
            mixers = by_layer_type(hf, attention, tables)
            layers = pre_norm_layers(hf, mixers, ffn_args(hf), norm)
            return cls(**decoder_fields(hf, is_critic), layers=layers, final_norm=norm, ropes=tables)
