# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Layers as families of HF configs describe them: what several families read in the same way.

Called by the `from_hf_config` of families inside `reading`. Each function reads the fields that it uses, so that what it does
not cover is refused by `HFFields.finish`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from areal.experimental.models.archon.base import UnsupportedConfig
from areal.experimental.models.archon.hf_config import activation, head_fields, layer_types, yarn_score_factor
from areal.experimental.models.archon.hf_fields import HFFields
from areal.experimental.models.archon.model_args import (
    AttentionArgs,
    DeltaNetArgs,
    ExpertArgs,
    FeedForwardArgs,
    LayerArgs,
    MLAArgs,
    MoEArgs,
    NormArgs,
    QKNormArgs,
    RopeArgs,
    RouterArgs,
    ScoreArgs,
    SharedExpertArgs,
)

SLIDING, FULL, LINEAR = "sliding_attention", "full_attention", "linear_attention"


def attention_args(hf: HFFields, score: ScoreArgs | None = None, **options: Any) -> AttentionArgs:
    """Attention over the heads of a config, with scores scaled by 1 / √head_dim unless `score` says otherwise."""
    heads = head_fields(hf)
    return AttentionArgs(**heads, score=score or ScoreArgs(scale=heads["head_dim"] ** -0.5), **options)


def gemma_attention(hf: HFFields, softcap: float | None, qk_norm: QKNormArgs | None = None) -> AttentionArgs:
    """Gemma's attention: a scale of its own, never in both directions."""
    hf.expect("use_bidirectional_attention", False, None)
    hf.ignore("hidden_act")  # old name of hidden_activation
    bias = hf("attention_bias")
    score = ScoreArgs(scale=hf("query_pre_attn_scalar") ** -0.5, softcap=softcap)
    return attention_args(hf, score, qkv_bias=bias, out_bias=bias, qk_norm=qk_norm)


def with_window(attention: AttentionArgs, window: int | None) -> AttentionArgs:
    """The same attention that sees the last `window` tokens only."""
    return replace(attention, score=replace(attention.score, window=window))


def by_layer_type(hf: HFFields, attention: AttentionArgs, ropes: Mapping[str, RopeArgs]) -> list[AttentionArgs]:
    """Attention of each layer by `layer_types`: the window on sliding layers, the table of its type where types have one."""
    window = hf("sliding_window", None)
    types = layer_types(hf, FULL, SLIDING)
    if window is None and SLIDING in types:
        raise UnsupportedConfig("sliding_window", "set where layer_types has sliding_attention", None)
    return [
        replace(
            with_window(attention, window if kind == SLIDING else None),
            rope=kind if kind in ropes else "default",
        )
        for kind in types
    ]


def ffn_args(
    hf: HFFields, bias: bool = False, size: int | None = None, act_field: str = "hidden_act"
) -> FeedForwardArgs:
    """A gated feed-forward of `size` or `intermediate_size`."""
    size = hf("intermediate_size") if size is None else size
    return FeedForwardArgs(intermediate_size=size, activation=activation(hf, act_field), in_bias=bias, out_bias=bias)


Mixer = AttentionArgs | MLAArgs | DeltaNetArgs
FFN = FeedForwardArgs | MoEArgs


def pre_norm_layers(
    hf: HFFields,
    mixers: Mixer | Sequence[Mixer],
    ffns: FFN | Sequence[FFN],
    norm: NormArgs,
    residual_scale: float = 1.0,
) -> tuple[LayerArgs, ...]:
    """Llama's layout: a norm before the mixer and one before the feed-forward. What is given once is in all layers."""
    return _layers(hf, mixers, ffns, attention_norm=norm, ffn_norm=norm, residual_scale=residual_scale)


def post_norm_layers(
    hf: HFFields, mixers: Mixer | Sequence[Mixer], ffns: FFN | Sequence[FFN], norm: NormArgs
) -> tuple[LayerArgs, ...]:
    """OLMo-2's layout: norms behind the mixer and the feed-forward."""
    return _layers(hf, mixers, ffns, attention_post_norm=norm, ffn_post_norm=norm)


def sandwich_layers(
    hf: HFFields, mixers: Mixer | Sequence[Mixer], ffns: FFN | Sequence[FFN], norm: NormArgs
) -> tuple[LayerArgs, ...]:
    """Gemma-2's layout: norms before and behind both."""
    names = ("attention_norm", "attention_post_norm", "ffn_norm", "ffn_post_norm")
    return _layers(hf, mixers, ffns, **dict.fromkeys(names, norm))


def _layers(
    hf: HFFields, mixers: Mixer | Sequence[Mixer], ffns: FFN | Sequence[FFN], **options: Any
) -> tuple[LayerArgs, ...]:
    num_layers = hf("num_hidden_layers")
    each_mixer = mixers if isinstance(mixers, Sequence) else [mixers] * num_layers
    each_ffn = ffns if isinstance(ffns, Sequence) else [ffns] * num_layers
    return tuple(LayerArgs(mixer=mixer, ffn=ffn, **options) for mixer, ffn in zip(each_mixer, each_ffn, strict=True))


def sparse_pattern(hf: HFFields) -> list[bool]:
    """Which layers have experts, by `decoder_sparse_step` and `mlp_only_layers`."""
    step, dense = hf("decoder_sparse_step"), hf("mlp_only_layers")
    return [(i + 1) % step == 0 and i not in dense for i in range(hf("num_hidden_layers"))]


def mixed_ffns(is_sparse: Iterable[bool], dense: FFN, sparse: FFN) -> list[FFN]:
    """The feed-forward of each layer."""
    return [sparse if sparse_here else dense for sparse_here in is_sparse]


def experts_args(hf: HFFields, field: str = "moe_intermediate_size") -> ExpertArgs:
    """Gated experts of the width that a field has."""
    return ExpertArgs(intermediate_size=hf(field), activation=activation(hf))


def softmax_moe(
    hf: HFFields, normalize: bool, shared: SharedExpertArgs | None = None, size_field: str = "moe_intermediate_size"
) -> MoEArgs:
    """Softmax over all experts, the best `num_experts_per_tok`."""
    return MoEArgs(
        num_experts=hf.first("num_local_experts", "num_experts"),
        top_k=hf("num_experts_per_tok"),
        router=RouterArgs(score="softmax", normalize=normalize),
        experts=experts_args(hf, size_field),
        shared=shared,
    )


def gated_shared_expert(hf: HFFields) -> SharedExpertArgs:
    """Qwen's shared expert, behind a gate of its own."""
    return SharedExpertArgs(feed_forward=ffn_args(hf, size=hf("shared_expert_intermediate_size")), gate=True)


def plural_shared_experts(hf: HFFields, count_field: str, bias: bool = False) -> SharedExpertArgs | None:
    """DeepSeek's shared experts: one feed-forward as wide as all of them; None without any."""
    count = hf(count_field) or 0
    size = hf("moe_intermediate_size") * count
    return SharedExpertArgs(feed_forward=ffn_args(hf, bias=bias, size=size)) if count else None


def deepseek_v3_moe(hf: HFFields) -> MoEArgs:
    """Sigmoid scores, a selection bias, groups (DeepSeek-V3, arXiv 2412.19437, eq. 12-16)."""
    _expect_deepseek(hf, "sigmoid")
    hf.expect("topk_method", "noaux_tc")
    router = RouterArgs(
        score="sigmoid",
        selection_bias=True,
        num_groups=hf("n_group"),
        num_limited_groups=hf("topk_group"),
        normalize=hf("norm_topk_prob"),
        normalize_eps=1e-20,  # HF's constant
        scale=hf("routed_scaling_factor"),
    )
    return deepseek_moe(hf, router)


def deepseek_v2_moe(hf: HFFields) -> MoEArgs:
    """Softmax scores, choice within the best groups (DeepSeek-V2, arXiv 2405.04434, section 2.2)."""
    _expect_deepseek(hf, "softmax")
    hf.expect("topk_method", "greedy", "group_limited_greedy")
    hf.expect("norm_topk_prob", False)
    groups, limited = (hf("n_group"), hf("topk_group")) if hf("topk_method") == "group_limited_greedy" else (1, 1)
    hf.ignore("n_group", "topk_group")  # greedy choice has no groups
    router = RouterArgs(
        score="softmax",
        num_groups=groups,
        num_limited_groups=limited,
        group_reduce="max",
        masked_score="zero",
        scale=hf("routed_scaling_factor"),
    )
    return deepseek_moe(hf, router, shared_bias=hf("mlp_bias"))


def deepseek_moe(hf: HFFields, router: RouterArgs, shared_bias: bool = False) -> MoEArgs:
    """Fine-grained routed experts beside shared ones."""
    return MoEArgs(
        num_experts=hf("n_routed_experts"),
        top_k=hf("num_experts_per_tok"),
        router=router,
        experts=experts_args(hf),
        shared=plural_shared_experts(hf, "n_shared_experts", shared_bias),
    )


def _expect_deepseek(hf: HFFields, score: str) -> None:
    """Fields of DeepSeek's own code that transformers does not have: they must ask for what it computes."""
    hf.expect("scoring_func", score)
    hf.expect("moe_layer_freq", 1)


def after_first_dense(hf: HFFields, dense: FFN, sparse: FFN) -> list[FFN]:
    """`first_k_dense_replace` dense layers, experts in all others."""
    first = hf("first_k_dense_replace")
    return mixed_ffns((i >= first for i in range(hf("num_hidden_layers"))), dense, sparse)


def mla_args(hf: HFFields) -> MLAArgs:
    """DeepSeek's latent attention. Scaled rotary tables raise the scale by mscale²; the latent norms have a fixed epsilon."""
    nope, rotary = hf("qk_nope_head_dim"), hf("qk_rope_head_dim")
    hf.ignore("qk_head_dim", "head_dim")  # sums and aliases of the two
    num_heads = hf("num_attention_heads")
    hf.expect("num_key_value_heads", num_heads)
    bias = hf("attention_bias")
    scale = (nope + rotary) ** -0.5 * yarn_score_factor(hf)
    return MLAArgs(
        num_heads=num_heads,
        q_rank=hf("q_lora_rank"),
        kv_rank=hf("kv_lora_rank"),
        nope_head_dim=nope,
        rope_head_dim=rotary,
        value_head_dim=hf("v_head_dim"),
        score=ScoreArgs(scale=scale),
        norm=NormArgs(eps=1e-6),
        bias=bias,
        out_bias=bias,
    )


def gated_delta_mixers(hf: HFFields, norm: NormArgs, fused_projections: bool) -> list[Mixer]:
    """Qwen3-Next's mixers by `layer_types`: gated DeltaNet, and attention with an output gate out of the queries."""
    delta = DeltaNetArgs(
        num_key_heads=hf("linear_num_key_heads"),
        num_value_heads=hf("linear_num_value_heads"),
        key_head_dim=hf("linear_key_head_dim"),
        value_head_dim=hf("linear_value_head_dim"),
        conv_kernel=hf("linear_conv_kernel_dim"),
        norm=NormArgs(eps=norm.eps),
        activation=activation(hf),
        fused_projections=fused_projections,
    )
    bias = hf("attention_bias")
    attention = attention_args(hf, qkv_bias=bias, out_bias=bias, qk_norm=QKNormArgs(norm=norm), gate="query")
    hf.ignore("full_attention_interval")  # made into layer_types by HF
    hf.expect("attn_output_gate", True)
    hf.expect("mamba_ssm_dtype", "float32")
    return [attention if kind == FULL else delta for kind in layer_types(hf, FULL, LINEAR)]


def gpt_oss_moe(hf: HFFields) -> MoEArgs:
    """gpt-oss: softmax over the chosen experts, biases everywhere, a clamped activation."""
    hf.expect("hidden_act", "silu")
    hf.ignore("experts_per_token", "initial_context_length")  # other names of fields that are read
    experts = ExpertArgs(
        intermediate_size=hf("intermediate_size"),
        activation="clamped_swiglu",
        bias=True,
        clamp=hf("swiglu_limit", 7.0),
        alpha=hf("swiglu_alpha", 1.702),
    )
    return MoEArgs(
        num_experts=hf.first("num_local_experts", "num_experts"),
        top_k=hf.first("num_experts_per_tok", "experts_per_token"),
        router=RouterArgs(score="softmax_topk", bias=True),
        experts=experts,
    )


def ernie_ffns(hf: HFFields, bias: bool) -> list[FFN]:
    """ERNIE 4.5's feed-forwards: experts on every `moe_layer_interval`th layer between two indices, if it has any."""
    num_layers = hf("num_hidden_layers")
    dense = ffn_args(hf, bias=bias)
    if "moe_num_experts" not in hf:
        return [dense] * num_layers
    hf.expect("moe_gate", "topk")
    hf.expect("moe_use_aux_free", True)
    hf.ignore("moe_capacity")  # limits of a training framework that drops tokens
    router = RouterArgs(
        score="softmax", selection_bias=True, normalize=True, normalize_eps=hf("moe_norm_min"), normalize_by="clamp"
    )
    moe = MoEArgs(
        num_experts=hf("moe_num_experts"),
        top_k=hf("moe_k"),
        router=router,
        experts=experts_args(hf),
        shared=plural_shared_experts(hf, "moe_num_shared_experts", bias),
    )
    first, last, interval = hf("moe_layer_start_index"), hf("moe_layer_end_index"), hf("moe_layer_interval")
    last = num_layers - 1 if last == -1 else last
    return mixed_ffns(((i + 1) % interval == 0 and first <= i <= last for i in range(num_layers)), dense, moe)
