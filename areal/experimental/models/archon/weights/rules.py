# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Rules between our parameter names and HF's, and the rules that most families share.

A rule names patterns: `{i}` stands for a layer index, `{p}` for `weight` or `bias`, `{e}` (HF side) for every expert. A rule
applies wherever our model has the parameters it names, so one list serves models with and without biases, norms or experts.
Of several rules for the same parameter the first is how we write; all of them are how we read.
"""

from __future__ import annotations

from dataclasses import dataclass

from areal.experimental.models.archon.model_args import DecoderArgs, DeltaNetArgs
from areal.experimental.models.archon.weights.ops import (
    Chain,
    GroupedSplit,
    Interleave,
    Op,
    Split,
    Stack,
    Transpose,
    Unsqueeze,
)

_ATTENTION = ("layers.{i}.attention.", "model.layers.{i}.self_attn.")
_FFN = ("layers.{i}.feed_forward.", "model.layers.{i}.mlp.")
_LINEAR = ("layers.{i}.linear_attn.", "model.layers.{i}.linear_attn.")
_EXPERTS = "layers.{i}.moe.experts."


@dataclass(frozen=True)
class Rule:
    """The HF tensors `hf` become ours by `op` (None: one tensor that is the same under another name)."""

    ours: tuple[str, ...]
    hf: tuple[str, ...]
    op: Op | None = None


def rename(ours: str, hf: str, op: Op | None = None) -> Rule:
    """One tensor of ours is one of HF's."""
    return Rule((ours,), (hf,), op)


def split(ours: tuple[str, ...], hf: str, op: Op | None = None) -> Rule:
    """One HF tensor holds several of ours along dim 0, or as `op` says."""
    return Rule(ours, (hf,), Split() if op is None else op)


def base_rules(prefix: str = "model.") -> tuple[Rule, ...]:
    """Embedding, final norm and heads."""
    return (
        rename("tok_embeddings.weight", f"{prefix}embed_tokens.weight"),
        rename("norm.{p}", f"{prefix}norm.{{p}}"),
        rename("output.{p}", "lm_head.{p}"),
        rename("score.weight", "score.weight"),
    )


def pre_norm_rules() -> tuple[Rule, ...]:
    """Llama's names of a norm before the mixer and one before the feed-forward."""
    return norm_rules(attention_norm="input_layernorm", ffn_norm="post_attention_layernorm")


def norm_rules(**hf_names: str) -> tuple[Rule, ...]:
    """Norms of a block: our name=HF's name."""
    return tuple(
        rename(f"layers.{{i}}.{ours}.{{p}}", f"model.layers.{{i}}.{hf}.{{p}}") for ours, hf in hf_names.items()
    )


def attention_rules(out: str = "o_proj", q_norm: str = "q_norm", k_norm: str = "k_norm") -> tuple[Rule, ...]:
    """Separate projections under `self_attn`."""
    ours, hf = _ATTENTION
    names = {"wq": "q_proj", "wk": "k_proj", "wv": "v_proj", "wo": out, "q_norm": q_norm, "k_norm": k_norm}
    return (
        *(rename(f"{ours}{a}.{{p}}", f"{hf}{b}.{{p}}") for a, b in names.items()),
        rename(f"{ours}sinks", f"{hf}sinks"),
    )


def ffn_rules(gate: str = "gate_proj", up: str = "up_proj", down: str = "down_proj") -> tuple[Rule, ...]:
    """Separate projections under `mlp`."""
    ours, hf = _FFN
    return tuple(rename(f"{ours}{a}.{{p}}", f"{hf}{b}.{{p}}") for a, b in {"w1": gate, "w3": up, "w2": down}.items())


def moe_rules(
    mlp: str = "mlp",
    gate: str = "gate_proj",
    up: str = "up_proj",
    down: str = "down_proj",
    shared: str = "shared_experts",
    router: str = "gate",
) -> tuple[Rule, ...]:
    """Experts stored one by one, as HF and vLLM write them; the fused layout of transformers 5 in memory is read too."""
    hf = f"model.layers.{{i}}.{mlp}."
    shared_names = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}
    return (
        rename("layers.{i}.moe.router.gate.{p}", f"{hf}{router}.{{p}}"),
        *(
            rename(f"{_EXPERTS}{ours}", f"{hf}experts.{{e}}.{theirs}.weight", Stack())
            for ours, theirs in {"w1": gate, "w3": up, "w2": down}.items()
        ),
        *fused_expert_rules(mlp),
        *(
            rename(f"layers.{{i}}.moe.shared_experts.{ours}.{{p}}", f"{hf}{shared}.{theirs}.{{p}}")
            for ours, theirs in shared_names.items()
        ),
        rename("layers.{i}.moe.shared_expert_gate.weight", f"{hf}shared_expert_gate.weight"),
    )


def fused_expert_rules(mlp: str = "mlp") -> tuple[Rule, ...]:
    """The layout of experts in transformers' memory, which some checkpoints have on disk."""
    hf = f"model.layers.{{i}}.{mlp}.experts."
    return (
        split((f"{_EXPERTS}w1", f"{_EXPERTS}w3"), f"{hf}gate_up_proj", Split(dim=1)),
        rename(f"{_EXPERTS}w2", f"{hf}down_proj"),
    )


def llama_rules() -> tuple[Rule, ...]:
    """The names of Llama, which most dense families use."""
    return (*base_rules(), *pre_norm_rules(), *attention_rules(), *ffn_rules())


def olmo2_rules() -> tuple[Rule, ...]:
    """Llama's names with norms behind the branches."""
    norms = norm_rules(attention_post_norm="post_attention_layernorm", ffn_post_norm="post_feedforward_layernorm")
    return (*base_rules(), *norms, *attention_rules(), *ffn_rules())


def gemma2_rules() -> tuple[Rule, ...]:
    """Llama's names with norms on both sides of the branches."""
    norms = norm_rules(
        attention_norm="input_layernorm",
        attention_post_norm="post_attention_layernorm",
        ffn_norm="pre_feedforward_layernorm",
        ffn_post_norm="post_feedforward_layernorm",
    )
    return (*base_rules(), *norms, *attention_rules(), *ffn_rules())


def glm_rules() -> tuple[Rule, ...]:
    """Llama's names with gate and up projection in one tensor."""
    ours, hf = _FFN
    fused = (
        split((f"{ours}w1.{{p}}", f"{ours}w3.{{p}}"), f"{hf}gate_up_proj.{{p}}"),
        rename(f"{ours}w2.{{p}}", f"{hf}down_proj.{{p}}"),
    )
    return (*base_rules(), *pre_norm_rules(), *attention_rules(), *fused)


def phi3_rules() -> tuple[Rule, ...]:
    """`glm_rules` with queries, keys and values in one tensor too."""
    ours, hf = _ATTENTION
    fused = split((f"{ours}wq.{{p}}", f"{ours}wk.{{p}}", f"{ours}wv.{{p}}"), f"{hf}qkv_proj.{{p}}")
    return (fused, *glm_rules())


def mla_rules() -> tuple[Rule, ...]:
    """Latent attention; what it has in common with other attention is in `attention_rules`."""
    ours, hf = _ATTENTION
    names = {
        "wq_a": "q_a_proj",
        "q_a_norm": "q_a_layernorm",
        "wq_b": "q_b_proj",
        "wkv_a": "kv_a_proj_with_mqa",
        "kv_a_norm": "kv_a_layernorm",
        "wkv_b": "kv_b_proj",
    }
    return tuple(rename(f"{ours}{a}.{{p}}", f"{hf}{b}.{{p}}") for a, b in names.items())


def delta_net_rules() -> tuple[Rule, ...]:
    """Gated DeltaNet under its HF names; the convolution has a dim of size one there."""
    ours, hf = _LINEAR
    same = ("A_log", "dt_bias", "norm.weight", "out_proj.weight")
    projections = tuple(f"in_proj_{name}.weight" for name in ("qkv", "z", "b", "a"))
    return (
        *(rename(ours + name, hf + name) for name in (*projections, *same)),
        rename(f"{ours}conv1d.weight", f"{hf}conv1d.weight", Unsqueeze(1)),
    )


def fused_delta_net_rules(args: DecoderArgs) -> tuple[Rule, ...]:
    """Gated DeltaNet with [q | k | v | z] and [b | a] stored key head by key head (qwen3_next)."""
    ours, hf = _LINEAR
    nets = {layer.mixer for layer in args.layers if isinstance(layer.mixer, DeltaNetArgs)}
    fused: list[Rule] = []
    for net in nets:
        keys, values = net.num_key_heads * net.key_head_dim, net.num_value_heads * net.value_head_dim
        qkvz = GroupedSplit(net.num_key_heads, ((keys, keys, values), (values,)))
        fused += [
            split((f"{ours}in_proj_qkv.weight", f"{ours}in_proj_z.weight"), f"{hf}in_proj_qkvz.weight", qkvz),
            split(
                (f"{ours}in_proj_b.weight", f"{ours}in_proj_a.weight"),
                f"{hf}in_proj_ba.weight",
                GroupedSplit(net.num_key_heads),
            ),
        ]
    return (*fused, *delta_net_rules())


def mixtral_rules() -> tuple[Rule, ...]:
    """Experts under `block_sparse_moe`; transformers calls the same module `mlp`."""
    in_memory = (rename("layers.{i}.moe.router.gate.{p}", "model.layers.{i}.mlp.gate.{p}"), *fused_expert_rules())
    return (*moe_rules("block_sparse_moe", gate="w1", up="w3", down="w2"), *in_memory)


def deepseek_moe_rules() -> tuple[Rule, ...]:
    """Experts with a selection bias beside the router."""
    bias = rename("layers.{i}.moe.router.expert_bias", "model.layers.{i}.mlp.gate.e_score_correction_bias")
    return (bias, *moe_rules())


def ernie_rules() -> tuple[Rule, ...]:
    """Llama's names and experts, whose selection bias is a row in a module of its own (inside the gate in memory)."""
    bias = tuple(
        rename(
            "layers.{i}.moe.router.expert_bias",
            f"model.layers.{{i}}.mlp.{module}.e_score_correction_bias",
            Unsqueeze(0),
        )
        for module in ("moe_statics", "gate.moe_statics")
    )
    return (*llama_rules(), *bias, *moe_rules())


def gpt_oss_rules() -> tuple[Rule, ...]:
    """All experts in one input-major tensor, gate and up columns alternating; their biases likewise."""
    hf = "model.layers.{i}.mlp."
    return (
        rename("layers.{i}.moe.router.gate.{p}", f"{hf}router.{{p}}"),
        split(
            (f"{_EXPERTS}w1", f"{_EXPERTS}w3"),
            f"{hf}experts.gate_up_proj",
            Chain((Transpose(1, 2), Interleave(1))),
        ),
        split((f"{_EXPERTS}b1", f"{_EXPERTS}b3"), f"{hf}experts.gate_up_proj_bias", Interleave(1)),
        rename(f"{_EXPERTS}w2", f"{hf}experts.down_proj", Transpose(1, 2)),
        rename(f"{_EXPERTS}b2", f"{hf}experts.down_proj_bias"),
    )
