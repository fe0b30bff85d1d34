# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of gpt-oss."""

from __future__ import annotations

from typing import Self

from transformers import PreTrainedConfig

from areal.experimental.models.archon.base import BaseModelArgs
from areal.experimental.models.archon.gpt_oss.model.rope import ropes
from areal.experimental.models.archon.hf_config import decoder_fields, head_fields
from areal.experimental.models.archon.hf_fields import reading
from areal.experimental.models.archon.hf_layers import (
    attention_args,
    by_layer_type,
    gpt_oss_moe,
    pre_norm_layers,
)
from areal.experimental.models.archon.model_args import DecoderArgs, NormArgs, ScoreArgs


class GptOssModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `GptOssConfig`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            norm = NormArgs(eps=hf("rms_norm_eps"), weight_in_fp32=True)
            bias = hf("attention_bias")
            score = ScoreArgs(scale=head_fields(hf)["head_dim"] ** -0.5, sinks=True)
            attention = attention_args(hf, score, qkv_bias=bias, out_bias=bias)
            tables = ropes(hf, attention.head_dim)
            mixers = by_layer_type(hf, attention, tables)
            layers = pre_norm_layers(hf, mixers, gpt_oss_moe(hf), norm)
            return cls(**decoder_fields(hf, is_critic), layers=layers, final_norm=norm, ropes=tables)
