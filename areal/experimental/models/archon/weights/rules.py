# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Rules between our parameter names and HF's, and the rules that most families share.

A rule names patterns: `{i}` stands for a layer index, `{p}` for `weight` or `bias`, `{e}` (HF side) for every expert. A rule
applies wherever our model has the parameters it names, so one list serves models with and without biases, norms or experts.
Of several rules for the same parameter the first is how we write; all of them are how we read.
"""

from __future__ import annotations

from dataclasses import dataclass

from areal.experimental.models.archon.weights.ops import Chain, Op, Split, Stack

_ATTENTION = ("layers.{i}.attention.", "model.layers.{i}.self_attn.")
_FFN = ("layers.{i}.feed_forward.", "model.layers.{i}.mlp.")
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
        split((f"{_EXPERTS}w1", f"{_EXPERTS}w3"), f"{hf}experts.gate_up_proj", Split(dim=1)),
        rename(f"{_EXPERTS}w2", f"{hf}experts.down_proj"),
        *(
            rename(f"layers.{{i}}.moe.shared_experts.{ours}.{{p}}", f"{hf}{shared}.{theirs}.{{p}}")
            for ours, theirs in shared_names.items()
        ),
        rename("layers.{i}.moe.shared_expert_gate.weight", f"{hf}shared_expert_gate.weight"),
    )


def llama_rules() -> tuple[Rule, ...]:
    """The names of Llama, which most dense families use."""
    return (*base_rules(), *pre_norm_rules(), *attention_rules(), *ffn_rules())


__all__ = [
    "Chain",
    "Rule",
    "attention_rules",
    "base_rules",
    "ffn_rules",
    "llama_rules",
    "moe_rules",
    "norm_rules",
    "pre_norm_rules",
    "rename",
    "split",
]
