# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of Ministral3."""

from __future__ import annotations

from typing import Self

from transformers import PreTrainedConfig

from areal.experimental.models.archon.base import BaseModelArgs
from areal.experimental.models.archon.hf_config import activation, decoder_fields, head_fields
from areal.experimental.models.archon.hf_fields import HFFields, reading
from areal.experimental.models.archon.ministral3.model.rope import ropes
from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    DecoderArgs,
    FeedForwardArgs,
    LayerArgs,
    NormArgs,
    QueryTemperatureArgs,
    ScoreArgs,
)


class Ministral3ModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `Ministral3Config`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            args = cls(
                **decoder_fields(hf, is_critic),
                final_norm=NormArgs(eps=hf("rms_norm_eps")),
                layers=(_layer(hf),) * hf("num_hidden_layers"),
                ropes=ropes(hf),
            )
        return args


def _layer(hf: HFFields) -> LayerArgs:
    """One block."""
    norm = NormArgs(eps=hf("rms_norm_eps"))
    return LayerArgs(mixer=_mixer(hf), ffn=_feed_forward(hf), attention_norm=norm, ffn_norm=norm)


def _mixer(hf: HFFields) -> AttentionArgs:
    """How tokens mix."""
    sliding_window = hf("sliding_window")
    rope_parameters = hf("rope_parameters")
    heads = head_fields(hf)
    return AttentionArgs(
        **heads,
        score=ScoreArgs(scale=heads["head_dim"] ** -0.5, window=sliding_window),
        query_temperature=QueryTemperatureArgs(
            beta=rope_parameters["llama_4_scaling_beta"],
            floor_scale=rope_parameters["original_max_position_embeddings"],
        ),
    )


def _feed_forward(hf: HFFields) -> FeedForwardArgs:
    """The feed-forward of a block."""
    return FeedForwardArgs(intermediate_size=hf("intermediate_size"), activation=activation(hf))
