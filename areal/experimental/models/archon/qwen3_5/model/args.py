# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of Qwen3.5, dense and with experts in all layers."""

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
    pre_norm_layers,
    softmax_moe,
)
from areal.experimental.models.archon.model_args import DecoderArgs, NormArgs
from areal.experimental.models.archon.qwen3_5.model.rope import ropes


class Qwen35ModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `Qwen3_5TextConfig` or `Qwen3_5MoeTextConfig`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            norm = NormArgs(eps=hf("rms_norm_eps"), offset=1.0, weight_in_fp32=True)
            if "num_experts" in hf:
                ffn = softmax_moe(hf, normalize=True, shared=gated_shared_expert(hf))
            else:
                ffn = ffn_args(hf)
            mixers = gated_delta_mixers(hf, norm, fused_projections=False)
            layers = pre_norm_layers(hf, mixers, ffn, norm)
            tables = ropes(hf, hf("head_dim"))
            return cls(**decoder_fields(hf, is_critic), layers=layers, final_norm=norm, ropes=tables)
