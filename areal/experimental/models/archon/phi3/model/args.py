# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of Phi-3 to Phi-4."""

from __future__ import annotations

from typing import Self

from transformers import PreTrainedConfig

from areal.experimental.models.archon.base import BaseModelArgs
from areal.experimental.models.archon.hf_config import decoder_fields
from areal.experimental.models.archon.hf_fields import reading
from areal.experimental.models.archon.hf_layers import (
    attention_args,
    ffn_args,
    pre_norm_layers,
    with_window,
)
from areal.experimental.models.archon.model_args import DecoderArgs, NormArgs
from areal.experimental.models.archon.phi3.model.rope import ropes


class Phi3ModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `Phi3Config`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            norm = NormArgs(eps=hf("rms_norm_eps"))
            attention = with_window(attention_args(hf), hf("sliding_window"))
            layers = pre_norm_layers(hf, attention, ffn_args(hf), norm)
            hf.expect("partial_rotary_factor", hf("rope_parameters").get("partial_rotary_factor", 1.0))
            hf.expect("full_attn_mod", 1)
            hf.expect("interpolate_factor", 1)
            tables = ropes(hf, attention.head_dim)
            return cls(**decoder_fields(hf, is_critic), layers=layers, final_norm=norm, ropes=tables)
