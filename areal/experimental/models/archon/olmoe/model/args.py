# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of Olmoe."""

from __future__ import annotations

from typing import Self

from transformers import PreTrainedConfig

from areal.experimental.models.archon.base import BaseModelArgs
from areal.experimental.models.archon.hf_config import activation, decoder_fields, head_fields
from areal.experimental.models.archon.hf_fields import HFFields, reading
from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    DecoderArgs,
    ExpertArgs,
    LayerArgs,
    MoEArgs,
    NormArgs,
    QKNormArgs,
    RouterArgs,
    ScoreArgs,
)
from areal.experimental.models.archon.olmoe.model.rope import ropes


class OlmoeModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `OlmoeConfig`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            hf.expect("clip_qkv", None)
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
    attention_bias = hf("attention_bias")
    rms_norm_eps = hf("rms_norm_eps")
    heads = head_fields(hf)
    return AttentionArgs(
        **heads,
        score=ScoreArgs(scale=heads["head_dim"] ** -0.5),
        qkv_bias=attention_bias,
        out_bias=attention_bias,
        qk_norm=QKNormArgs(norm=NormArgs(eps=rms_norm_eps), kind="flat"),
    )


def _feed_forward(hf: HFFields) -> MoEArgs:
    """The feed-forward of a block."""
    return MoEArgs(
        num_experts=hf("num_experts"),
        top_k=hf("num_experts_per_tok"),
        router=RouterArgs(normalize=hf("norm_topk_prob")),
        experts=ExpertArgs(intermediate_size=hf("intermediate_size"), activation=activation(hf)),
    )
