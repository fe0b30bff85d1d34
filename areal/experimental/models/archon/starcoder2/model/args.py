# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of Starcoder2."""

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
from areal.experimental.models.archon.starcoder2.model.rope import ropes


class Starcoder2ModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `Starcoder2Config`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            args = cls(
                **decoder_fields(hf, is_critic),
                final_norm=NormArgs(kind="layer", eps=hf("norm_epsilon"), has_bias=True),
                layers=(_layer(hf),) * hf("num_hidden_layers"),
                ropes=ropes(hf),
            )
        return args


def _layer(hf: HFFields) -> LayerArgs:
    """One block."""
    norm = NormArgs(kind="layer", eps=hf("norm_epsilon"), has_bias=True)
    return LayerArgs(mixer=_mixer(hf), ffn=_feed_forward(hf), attention_norm=norm, ffn_norm=norm)


def _mixer(hf: HFFields) -> AttentionArgs:
    """How tokens mix."""
    sliding_window = hf("sliding_window")
    use_bias = hf("use_bias")
    heads = head_fields(hf)
    return AttentionArgs(
        **heads,
        score=ScoreArgs(scale=heads["head_dim"] ** -0.5, window=sliding_window),
        qkv_bias=use_bias,
        out_bias=use_bias,
    )


def _feed_forward(hf: HFFields) -> FeedForwardArgs:
    """The feed-forward of a block."""
    intermediate_size = hf("intermediate_size")
    use_bias = hf("use_bias")
    hidden_act = activation(hf)
    return FeedForwardArgs(
        intermediate_size=intermediate_size, activation=hidden_act, gated=False, in_bias=use_bias, out_bias=use_bias
    )
