# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of GLM-4.5."""

from __future__ import annotations

from typing import Self

from transformers import PreTrainedConfig

from areal.experimental.models.archon.base import BaseModelArgs
from areal.experimental.models.archon.glm4_moe.model.rope import ropes
from areal.experimental.models.archon.hf_config import decoder_fields
from areal.experimental.models.archon.hf_fields import reading
from areal.experimental.models.archon.hf_layers import (
    after_first_dense,
    attention_args,
    deepseek_v3_moe,
    ffn_args,
    pre_norm_layers,
)
from areal.experimental.models.archon.model_args import DecoderArgs, NormArgs, QKNormArgs


class Glm4MoeModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `Glm4MoeConfig`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            norm = NormArgs(eps=hf("rms_norm_eps"))
            qk_norm = QKNormArgs(norm=norm) if hf("use_qk_norm") else None
            attention = attention_args(hf, qkv_bias=hf("attention_bias"), qk_norm=qk_norm)
            ffns = after_first_dense(hf, ffn_args(hf), deepseek_v3_moe(hf))
            layers = pre_norm_layers(hf, attention, ffns, norm)
            tables = ropes(hf, attention.head_dim)
            return cls(**decoder_fields(hf, is_critic), layers=layers, final_norm=norm, ropes=tables)
