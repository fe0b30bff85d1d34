# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of ERNIE 4.5, dense and with experts."""

from __future__ import annotations

from typing import Self

from transformers import PreTrainedConfig

from areal.experimental.models.archon.base import BaseModelArgs
from areal.experimental.models.archon.ernie4_5.model.rope import ropes
from areal.experimental.models.archon.hf_config import decoder_fields
from areal.experimental.models.archon.hf_fields import reading
from areal.experimental.models.archon.hf_layers import attention_args, ernie_ffns, pre_norm_layers
from areal.experimental.models.archon.model_args import DecoderArgs, HeadArgs, NormArgs


class Ernie45ModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `Ernie4_5Config` or `Ernie4_5_MoeConfig`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            norm = NormArgs(eps=hf("rms_norm_eps"))
            bias = hf("use_bias")
            attention = attention_args(hf, qkv_bias=bias, out_bias=bias)
            ffns = ernie_ffns(hf, bias)
            layers = pre_norm_layers(hf, attention, ffns, norm)
            tables = ropes(hf, attention.head_dim)
            return cls(
                **decoder_fields(hf, is_critic),
                layers=layers,
                final_norm=norm,
                ropes=tables,
                head=HeadArgs(bias="moe_num_experts" in hf and bias),
            )
