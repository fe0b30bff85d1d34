# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of Mixtral."""

from __future__ import annotations

from typing import Self

from transformers import PreTrainedConfig

from areal.experimental.models.archon.base import BaseModelArgs
from areal.experimental.models.archon.hf_config import decoder_fields
from areal.experimental.models.archon.hf_fields import reading
from areal.experimental.models.archon.hf_layers import (
    attention_args,
    pre_norm_layers,
    softmax_moe,
    with_window,
)
from areal.experimental.models.archon.mixtral.model.rope import ropes
from areal.experimental.models.archon.model_args import DecoderArgs, NormArgs


class MixtralModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `MixtralConfig`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            norm = NormArgs(eps=hf("rms_norm_eps"))
            attention = with_window(attention_args(hf), hf("sliding_window"))
            moe = softmax_moe(hf, normalize=True, size_field="intermediate_size")
            layers = pre_norm_layers(hf, attention, moe, norm)
            tables = ropes(hf, attention.head_dim)
            return cls(**decoder_fields(hf, is_critic), layers=layers, final_norm=norm, ropes=tables)
