# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of SmolLM3."""

from __future__ import annotations

from typing import Self

from transformers import PreTrainedConfig

from areal.experimental.models.archon.base import BaseModelArgs
from areal.experimental.models.archon.hf_config import activation, decoder_fields, head_fields
from areal.experimental.models.archon.hf_fields import HFFields, reading
from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    DecoderArgs,
    FeedForwardArgs,
    LayerArgs,
    NormArgs,
    ScoreArgs,
)
from areal.experimental.models.archon.smollm3.model.rope import ropes


class Smollm3ModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `SmolLM3Config`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            hf.expect_each("layer_types", "full_attention", "sliding_attention")
            hf.ignore(
                "no_rope_layer_interval", "use_sliding_window"
            )  # no influence on logits at any value that was tried
            args = cls(
                **decoder_fields(hf, is_critic),
                final_norm=NormArgs(eps=hf("rms_norm_eps")),
                layers=tuple(_layer(hf, i) for i in range(hf("num_hidden_layers"))),
                ropes=ropes(hf),
            )
        return args


def _layer(hf: HFFields, i: int) -> LayerArgs:
    """One block."""
    norm = NormArgs(eps=hf("rms_norm_eps"))
    return LayerArgs(mixer=_mixer(hf, i), ffn=_feed_forward(hf), attention_norm=norm, ffn_norm=norm)


def _mixer(hf: HFFields, i: int) -> AttentionArgs:
    """How tokens mix."""
    sliding_window = hf("sliding_window")
    layer_types = hf("layer_types")
    no_rope_layers = hf("no_rope_layers")
    attention_bias = hf("attention_bias")
    heads = head_fields(hf)
    return AttentionArgs(
        **heads,
        score=ScoreArgs(
            scale=heads["head_dim"] ** -0.5, window=(sliding_window if layer_types[i] == "sliding_attention" else None)
        ),
        rope=("default" if bool(no_rope_layers[i]) else None),
        qkv_bias=attention_bias,
        out_bias=attention_bias,
    )


def _feed_forward(hf: HFFields) -> FeedForwardArgs:
    """The feed-forward of a block."""
    intermediate_size = hf("intermediate_size")
    mlp_bias = hf("mlp_bias")
    hidden_act = activation(hf)
    return FeedForwardArgs(
        intermediate_size=intermediate_size, activation=hidden_act, in_bias=mlp_bias, out_bias=mlp_bias
    )
