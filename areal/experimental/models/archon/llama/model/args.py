# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of Llama 2, 3, 3.x and everything that ships as `LlamaForCausalLM`."""

from __future__ import annotations

from typing import Self

from transformers import PreTrainedConfig

from areal.experimental.models.archon.base import BaseModelArgs
from areal.experimental.models.archon.hf_config import activation, decoder_fields, head_fields
from areal.experimental.models.archon.hf_fields import reading
from areal.experimental.models.archon.llama.model.rope import ropes
from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    DecoderArgs,
    FeedForwardArgs,
    LayerArgs,
    NormArgs,
    ScoreArgs,
)


class LlamaModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `LlamaConfig`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            norm = NormArgs(eps=hf("rms_norm_eps"))
            heads = head_fields(hf)
            attention_bias, mlp_bias = hf("attention_bias"), hf("mlp_bias")
            attention = AttentionArgs(
                **heads,
                score=ScoreArgs(scale=heads["head_dim"] ** -0.5),
                qkv_bias=attention_bias,
                out_bias=attention_bias,
            )
            ffn = FeedForwardArgs(
                intermediate_size=hf("intermediate_size"),
                activation=activation(hf),
                in_bias=mlp_bias,
                out_bias=mlp_bias,
            )
            layer = LayerArgs(mixer=attention, ffn=ffn, attention_norm=norm, ffn_norm=norm)
            args = cls(
                **decoder_fields(hf, is_critic),
                layers=(layer,) * hf("num_hidden_layers"),
                final_norm=norm,
                ropes=ropes(hf, heads["head_dim"]),
            )
        return args
