# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The HF names of Llama-like checkpoints, shared by every dense family; options add or drop their rules."""

from __future__ import annotations

from areal.experimental.models.archon.args import DecoderArgs
from areal.experimental.models.archon.weight_map import Fuse, Rename, Rule, WeightMap

_OURS = "layers.{layer}."
_HF = "model.layers.{layer}."


def dense_weight_map(args: DecoderArgs) -> WeightMap:
    """The map of a decoder whose checkpoint uses Llama's names (Llama, Qwen2, Qwen3, ...)."""
    rules: list[Rule] = [
        Rename("tok_embeddings.weight", "model.embed_tokens.weight"),
        Rename("norm.weight", "model.norm.weight"),
        Rename(_OURS + "attention_norm.weight", _HF + "input_layernorm.weight"),
        Rename(_OURS + "ffn_norm.weight", _HF + "post_attention_layernorm.weight"),
        *_qkv(args, "weight"),
        *_ffn(args, "weight"),
        Rename(_OURS + "attention.wo.weight", _HF + "self_attn.o_proj.weight"),
    ]
    if args.qkv_bias:
        rules += _qkv(args, "bias")
    if args.out_bias:
        rules.append(Rename(_OURS + "attention.wo.bias", _HF + "self_attn.o_proj.bias"))
    if args.mlp_bias:
        rules += _ffn(args, "bias")
    if args.qk_norm:
        rules.append(Rename(_OURS + "attention.q_norm.weight", _HF + "self_attn.q_norm.weight"))
        rules.append(Rename(_OURS + "attention.k_norm.weight", _HF + "self_attn.k_norm.weight"))
    if not args.tie_embeddings:
        rules.append(Rename("output.weight", "lm_head.weight"))
        return WeightMap(rules, args.num_layers)
    return WeightMap(rules, args.num_layers, tied={"lm_head.weight": "model.embed_tokens.weight"})


def _qkv(args: DecoderArgs, kind: str) -> list[Rule]:
    names = tuple(f"{_HF}self_attn.{part}_proj.{kind}" for part in "qkv")
    heads = (args.num_heads, args.num_kv_heads, args.num_kv_heads)
    return [Fuse(f"{_OURS}attention.wqkv.{kind}", names, tuple(n * args.head_dim for n in heads))]


def _ffn(args: DecoderArgs, kind: str) -> list[Rule]:
    names = (f"{_HF}mlp.gate_proj.{kind}", f"{_HF}mlp.up_proj.{kind}")
    return [
        Fuse(f"{_OURS}feed_forward.w13.{kind}", names, (args.intermediate_size,) * 2),
        Rename(f"{_OURS}feed_forward.w2.{kind}", f"{_HF}mlp.down_proj.{kind}"),
    ]
