# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny configs of any HF decoder: its default config shrunk by rules on field names, and what single families need on top.

Two a family: the second has another head width, GQA ratio, tying and biases, so that what is right by accident in one is
wrong in the other. Windows are smaller than the prompt, multipliers are not 1, each layer type appears.
"""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from areal.experimental.models.archon.hf_fields import is_dropout
from areal.experimental.models.archon.proof.tiny_overrides import OVERRIDES

NUM_LAYERS = 4
WINDOW = 8
_FIRST: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": NUM_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "pad_token_id": None,  # HF freezes the embedding row of a pad token
    "bos_token_id": 1,
    "eos_token_id": 2,
    "sliding_window": WINDOW,
    "attention_chunk_size": WINDOW,
    "use_sliding_window": True,
    "max_window_layers": 2,
    # Large enough to be seen beside the mean squares, so that a constant in place of the field fails.
    "rms_norm_eps": 1e-3,
    "layer_norm_eps": 1e-3,
    "norm_eps": 1e-3,
    # latent attention
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    # linear attention
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 12,
    # experts
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 8,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_k": 2,
    "moe_topk": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 40,
    "n_shared_experts": 2,
    "moe_num_shared_experts": 2,
    "n_group": 4,
    "topk_group": 2,
    "first_k_dense_replace": 1,
    "decoder_sparse_step": 2,
    "moe_layer_start_index": 1,
    "moe_layer_end_index": NUM_LAYERS - 1,
    "query_pre_attn_scalar": 10,
}
_SECOND: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 24,
    "use_sliding_window": False,
    "rms_norm_eps": 1e-5,
    "layer_norm_eps": 1e-5,
    "norm_eps": 1e-5,
    "q_lora_rank": 20,
    "kv_lora_rank": 28,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 16,
    "v_head_dim": 20,
    "linear_num_key_heads": 3,
    "linear_num_value_heads": 3,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 8,
    "num_experts_per_tok": 3,
    "moe_k": 3,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 2,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [1],
}
# Distinct values for factors that default to 1, and the endings of their names.
_FACTORS = (0.7, 1.3, 0.85, 1.2, 0.9, 1.1)
_FACTOR_ENDINGS = ("_multiplier", "_scaling", "_scale", "_scaling_factor", "_mult", "_scale_factor")
_SWITCHES = ("norm_topk_prob", "use_qk_norm", "qk_layernorm")


def tiny_configs(model_type: str) -> list[PreTrainedConfig]:
    """Two tiny configs of a model type; of a composite type, around tiny configs of its text model."""
    whole = AutoConfig.for_model(model_type)
    text = type(whole.get_text_config())
    default = text().to_dict()
    first = _shrunk(default, _named_as_in(text, _FIRST))
    second = {**_shrunk(default, _named_as_in(text, {**_FIRST, **_SECOND})), **_flipped(default)}
    overrides = OVERRIDES.get(text.model_type, ({}, {}))
    configs = [text(**{**options, **more}) for options, more in zip((first, second), overrides, strict=True)]
    if text is type(whole):
        return configs
    return [
        type(whole)(text_config=config.to_dict(), tie_word_embeddings=config.tie_word_embeddings) for config in configs
    ]


def _named_as_in(config_class: type[PreTrainedConfig], sizes: dict[str, Any]) -> dict[str, Any]:
    """Sizes under the names that older families gave them (`n_embd`)."""
    return {config_class.attribute_map.get(name, name): value for name, value in sizes.items()}


def _shrunk(default: dict[str, Any], sizes: dict[str, Any]) -> dict[str, Any]:
    """The fields of a config that have tiny values, factors that are not 1, and patterns cut to the number of layers."""
    options = {name: value for name, value in sizes.items() if name in default}
    options |= {name: 0.0 for name, value in default.items() if is_dropout(name) and value}  # no family computes it
    names = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    num_layers = next((default[name] for name in names if name in default), 0)
    factors = iter(_FACTORS * 4)
    for name, value in default.items():
        if name in options:
            continue
        if isinstance(value, float) and name.endswith(_FACTOR_ENDINGS):
            options[name] = next(factors)
        elif isinstance(value, list) and len(value) == num_layers:
            kinds = list(dict.fromkeys(value))
            if len(kinds) > 1:  # of one kind, it may follow from switches that are set here
                options[name] = [kinds[i % len(kinds)] for i in range(NUM_LAYERS)]
    if "n_group" in default:  # groups of two experts
        options |= {name: 2 * _FIRST["n_group"] for name in ("num_experts", "num_local_experts") if name in default}
    # Full multi-head attention where keys come from one latent vector.
    if "kv_lora_rank" in default:
        options["num_key_value_heads"] = options["num_attention_heads"]
        options.pop("head_dim", None)
    return options


def _flipped(default: dict[str, Any]) -> dict[str, Any]:
    """Tying, biases and switches the other way round."""
    return {
        name: not value
        for name, value in default.items()
        if isinstance(value, bool) and (name == "tie_word_embeddings" or "bias" in name or name in _SWITCHES)
    }
