# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of DeepSeek-V3."""

from __future__ import annotations

from typing import Self

from transformers import PreTrainedConfig

from areal.experimental.models.archon.base import BaseModelArgs
from areal.experimental.models.archon.deepseek_v3.model.rope import ropes
from areal.experimental.models.archon.hf_config import decoder_fields
from areal.experimental.models.archon.hf_fields import reading
from areal.experimental.models.archon.hf_layers import (
    after_first_dense,
    deepseek_v3_moe,
    ffn_args,
    mla_args,
    pre_norm_layers,
)
from areal.experimental.models.archon.model_args import DecoderArgs, NormArgs


class DeepseekV3ModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `DeepseekV3Config`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            norm = NormArgs(eps=hf("rms_norm_eps"))
            attention = mla_args(hf)
            tables = ropes(hf, attention.rope_head_dim)
            ffns = after_first_dense(hf, ffn_args(hf), deepseek_v3_moe(hf))
            layers = pre_norm_layers(hf, attention, ffns, norm)
            return cls(**decoder_fields(hf, is_critic), layers=layers, final_norm=norm, ropes=tables)
