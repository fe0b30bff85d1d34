# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of Qwen3-Next."""

from __future__ import annotations

from typing import Self

from transformers import PreTrainedConfig

from areal.experimental.models.archon.base import BaseModelArgs
from areal.experimental.models.archon.hf_config import decoder_fields
from areal.experimental.models.archon.hf_fields import reading
from areal.experimental.models.archon.hf_layers import (
    ffn_args,
    gated_delta_mixers,
    gated_shared_expert,
    mixed_ffns,
    pre_norm_layers,
    softmax_moe,
    sparse_pattern,
)
from areal.experimental.models.archon.model_args import DecoderArgs, NormArgs
from areal.experimental.models.archon.qwen3_next.model.rope import ropes


class Qwen3NextModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `Qwen3NextConfig`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            norm = NormArgs(eps=hf("rms_norm_eps"), offset=1.0, weight_in_fp32=True)
            moe = softmax_moe(hf, hf("norm_topk_prob"), shared=gated_shared_expert(hf))
            ffns = mixed_ffns(sparse_pattern(hf), ffn_args(hf), moe)
            layers = pre_norm_layers(hf, gated_delta_mixers(hf, norm, fused_projections=True), ffns, norm)
            tables = ropes(hf, hf("head_dim"))
            return cls(**decoder_fields(hf, is_critic), layers=layers, final_norm=norm, ropes=tables)
