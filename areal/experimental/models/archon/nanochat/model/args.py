# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of NanoChat."""

from __future__ import annotations

from typing import Self

from transformers import PreTrainedConfig

from areal.experimental.models.archon.base import BaseModelArgs
from areal.experimental.models.archon.hf_config import activation, decoder_fields, head_fields
from areal.experimental.models.archon.hf_fields import HFFields, reading
from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    DecoderArgs,
    EmbeddingArgs,
    FeedForwardArgs,
    HeadArgs,
    LayerArgs,
    NormArgs,
    QKNormArgs,
    ScoreArgs,
)
from areal.experimental.models.archon.nanochat.model.rope import ropes


class NanochatModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `NanoChatConfig`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            args = cls(
                **decoder_fields(hf, is_critic),
                final_norm=NormArgs(eps=hf("rms_norm_eps"), has_weight=False),
                embedding=EmbeddingArgs(norm=NormArgs(eps=hf("rms_norm_eps"), has_weight=False)),
                head=HeadArgs(softcap=hf("final_logit_softcapping")),
                layers=(_layer(hf),) * hf("num_hidden_layers"),
                ropes=ropes(hf),
            )
        return args


def _layer(hf: HFFields) -> LayerArgs:
    """One block."""
    norm = NormArgs(eps=hf("rms_norm_eps"), has_weight=False)
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
        qk_norm=QKNormArgs(norm=NormArgs(eps=rms_norm_eps, has_weight=False), after_rope=True),
    )


def _feed_forward(hf: HFFields) -> FeedForwardArgs:
    """The feed-forward of a block."""
    return FeedForwardArgs(intermediate_size=hf("intermediate_size"), activation=activation(hf), gated=False)
