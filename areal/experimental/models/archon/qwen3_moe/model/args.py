# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of Qwen3 with experts; a window, if there is one, is on all layers."""

from __future__ import annotations

from typing import Self

from transformers import PreTrainedConfig

from areal.experimental.models.archon.base import BaseModelArgs
from areal.experimental.models.archon.hf_config import decoder_fields
from areal.experimental.models.archon.hf_fields import reading
from areal.experimental.models.archon.hf_layers import (
    attention_args,
    ffn_args,
    mixed_ffns,
    pre_norm_layers,
    softmax_moe,
    sparse_pattern,
    with_window,
)
from areal.experimental.models.archon.model_args import DecoderArgs, NormArgs, QKNormArgs
from areal.experimental.models.archon.qwen3_moe.model.rope import ropes


class Qwen3MoeModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `Qwen3MoeConfig`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            norm = NormArgs(eps=hf("rms_norm_eps"))
            bias = hf("attention_bias")
            attention = attention_args(hf, qkv_bias=bias, out_bias=bias, qk_norm=QKNormArgs(norm=norm))
            hf.ignore(
                "use_sliding_window", "max_window_layers"
            )  # HF unsets the window when it is off, and never reads the other
            attention = with_window(attention, hf("sliding_window"))
            ffns = mixed_ffns(sparse_pattern(hf), ffn_args(hf), softmax_moe(hf, hf("norm_topk_prob")))
            layers = pre_norm_layers(hf, attention, ffns, norm)
            tables = ropes(hf, attention.head_dim)
            return cls(**decoder_fields(hf, is_critic), layers=layers, final_norm=norm, ropes=tables)
