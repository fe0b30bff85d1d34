# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments of Qwen2Moe."""

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
    FeedForwardArgs,
    LayerArgs,
    MoEArgs,
    NormArgs,
    RouterArgs,
    ScoreArgs,
    SharedExpertArgs,
)
from areal.experimental.models.archon.qwen2_moe.model.rope import ropes


class Qwen2MoeModelArgs(DecoderArgs, BaseModelArgs):
    """See `DecoderArgs`."""

    @classmethod
    def from_hf_config(cls, hf_config: PreTrainedConfig, is_critic: bool = False) -> Self:
        """Arguments of a `Qwen2MoeConfig`; raises `UnsupportedConfig`."""
        with reading(hf_config) as hf:
            hf.expect_each("layer_types", "full_attention", "sliding_attention")
            hf.ignore("max_window_layers", "use_sliding_window")  # no influence on logits at any value that was tried
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
    return LayerArgs(mixer=_mixer(hf, i), ffn=_feed_forward(hf, i), attention_norm=norm, ffn_norm=norm)


def _mixer(hf: HFFields, i: int) -> AttentionArgs:
    """How tokens mix."""
    sliding_window = hf("sliding_window")
    layer_types = hf("layer_types")
    qkv_bias = hf("qkv_bias")
    heads = head_fields(hf)
    return AttentionArgs(
        **heads,
        score=ScoreArgs(
            scale=heads["head_dim"] ** -0.5, window=(sliding_window if layer_types[i] == "sliding_attention" else None)
        ),
        qkv_bias=qkv_bias,
    )


def _feed_forward(hf: HFFields, i: int) -> FeedForwardArgs | MoEArgs:
    """The feed-forward of a block."""
    num_experts = hf("num_experts")
    num_experts_per_tok = hf("num_experts_per_tok")
    norm_topk_prob = hf("norm_topk_prob")
    moe_intermediate_size = hf("moe_intermediate_size")
    shared_expert_intermediate_size = hf("shared_expert_intermediate_size")
    mlp_only_layers = hf("mlp_only_layers")
    decoder_sparse_step = hf("decoder_sparse_step")
    intermediate_size = hf("intermediate_size")
    hidden_act = activation(hf)
    return (
        MoEArgs(
            num_experts=num_experts,
            top_k=num_experts_per_tok,
            router=RouterArgs(normalize=norm_topk_prob),
            experts=ExpertArgs(intermediate_size=moe_intermediate_size, activation=hidden_act),
            shared=SharedExpertArgs(
                feed_forward=FeedForwardArgs(intermediate_size=shared_expert_intermediate_size, activation=hidden_act),
                gate=True,
            ),
        )
        if i not in mlp_only_layers and (i + 1) % decoder_sparse_step == 0
        else FeedForwardArgs(intermediate_size=intermediate_size, activation=hidden_act)
    )
