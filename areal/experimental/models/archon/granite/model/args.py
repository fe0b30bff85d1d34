# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of Granite: Llama with multipliers of embedding, residual branches, scores and logits."""

from __future__ import annotations

from typing import Self

from transformers import PreTrainedConfig

from areal.experimental.models.archon.base import BaseModelArgs
from areal.experimental.models.archon.granite.model.rope import ropes
from areal.experimental.models.archon.hf_config import decoder_fields
from areal.experimental.models.archon.hf_fields import reading
from areal.experimental.models.archon.hf_layers import attention_args, ffn_args, pre_norm_layers
from areal.experimental.models.archon.model_args import (
    DecoderArgs,
    EmbeddingArgs,
    HeadArgs,
    NormArgs,
    ScoreArgs,
)


class GraniteModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `GraniteConfig`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            norm = NormArgs(eps=hf("rms_norm_eps"))
            bias = hf("attention_bias")
            score = ScoreArgs(scale=hf("attention_multiplier"))
            attention = attention_args(hf, score=score, qkv_bias=bias, out_bias=bias)
            layers = pre_norm_layers(
                hf,
                attention,
                ffn_args(hf, bias=hf("mlp_bias")),
                norm,
                residual_scale=hf("residual_multiplier"),
            )
            tables = ropes(hf, attention.head_dim)
            return cls(
                **decoder_fields(hf, is_critic),
                layers=layers,
                final_norm=norm,
                ropes=tables,
                embedding=EmbeddingArgs(scale=hf("embedding_multiplier")),
                head=HeadArgs(scale=1.0 / hf("logits_scaling")),
            )
