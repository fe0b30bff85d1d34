# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of OLMo 3: norms behind the branches, queries and keys normalised over all heads."""

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
    post_norm_layers,
)
from areal.experimental.models.archon.model_args import DecoderArgs, NormArgs, QKNormArgs
from areal.experimental.models.archon.olmo3.model.rope import ropes


class Olmo3ModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `Olmo3Config`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            norm = NormArgs(eps=hf("rms_norm_eps"), weight_in_fp32=True)
            bias = hf("attention_bias")
            attention = attention_args(hf, qkv_bias=bias, out_bias=bias, qk_norm=QKNormArgs(norm=norm, kind="flat"))
            tables = ropes(hf, attention.head_dim)
            mixers = by_layer_type(hf, attention, tables)
            layers = post_norm_layers(hf, mixers, ffn_args(hf), norm)
            return cls(**decoder_fields(hf, is_critic), layers=layers, final_norm=norm, ropes=tables)
