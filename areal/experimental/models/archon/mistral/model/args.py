# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of Mistral."""

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
from areal.experimental.models.archon.mistral.model.rope import ropes
from areal.experimental.models.archon.model_args import DecoderArgs, NormArgs


class MistralModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `MistralConfig`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            norm = NormArgs(eps=hf("rms_norm_eps"))
            attention = with_window(attention_args(hf), hf("sliding_window"))
            layers = pre_norm_layers(hf, attention, ffn_args(hf), norm)
            tables = ropes(hf, attention.head_dim)
            return cls(**decoder_fields(hf, is_critic), layers=layers, final_norm=norm, ropes=tables)
