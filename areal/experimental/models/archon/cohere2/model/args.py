# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of Cohere2."""

from __future__ import annotations

from typing import Self

from transformers import PreTrainedConfig

from areal.experimental.models.archon.base import BaseModelArgs
from areal.experimental.models.archon.cohere2.model.rope import ropes
from areal.experimental.models.archon.hf_config import activation, decoder_fields, head_fields
from areal.experimental.models.archon.hf_fields import HFFields, reading
from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    DecoderArgs,
    FeedForwardArgs,
    HeadArgs,
    LayerArgs,
    NormArgs,
    ScoreArgs,
)


class Cohere2ModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `Cohere2Config`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            hf.expect_each("layer_types", "full_attention", "sliding_attention")
            args = cls(
                **decoder_fields(hf, is_critic),
                final_norm=NormArgs(kind="layer", eps=hf("layer_norm_eps")),
                head=HeadArgs(scale=hf("logit_scale")),
                layers=tuple(_layer(hf, i) for i in range(hf("num_hidden_layers"))),
                ropes=ropes(hf),
            )
        return args


def _layer(hf: HFFields, i: int) -> LayerArgs:
    """One block."""
    return LayerArgs(
        mixer=_mixer(hf, i),
        ffn=_feed_forward(hf),
        attention_norm=NormArgs(kind="layer", eps=hf("layer_norm_eps")),
        parallel=True,
    )


def _mixer(hf: HFFields, i: int) -> AttentionArgs:
    """How tokens mix."""
    sliding_window = hf("sliding_window")
    layer_types = hf("layer_types")
    attention_bias = hf("attention_bias")
    heads = head_fields(hf)
    return AttentionArgs(
        **heads,
        score=ScoreArgs(
            scale=heads["head_dim"] ** -0.5, window=(sliding_window if layer_types[i] == "sliding_attention" else None)
        ),
        rope=("default" if layer_types[i] == "sliding_attention" else None),
        qkv_bias=attention_bias,
        out_bias=attention_bias,
    )


def _feed_forward(hf: HFFields) -> FeedForwardArgs:
    """The feed-forward of a block."""
    return FeedForwardArgs(intermediate_size=hf("intermediate_size"), activation=activation(hf))
