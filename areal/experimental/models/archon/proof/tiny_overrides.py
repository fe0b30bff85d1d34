# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What single families need beyond the rules of `tiny`, as pairs of fields for the first and the second config.

Mostly rotary tables: each kind that a family's checkpoints ship with is proven on that family.
"""

from __future__ import annotations

from typing import Any

Pair = tuple[dict[str, Any], dict[str, Any]]

_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
_LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "beta_fast": 8.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": 64,
}
_DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
_MLA_YARN = {**_YARN, "mscale": 0.7, "mscale_all_dim": 1.2}


def _longrope(rotary_dim: int, share: float) -> dict[str, Any]:
    """Short factors for the sequence of 13 tokens, long ones for that of 24."""
    return {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0 + 0.1 * i for i in range(rotary_dim // 2)],
        "long_factor": [2.0 + 0.5 * i for i in range(rotary_dim // 2)],
        "partial_rotary_factor": share,
        "original_max_position_embeddings": 16,
    }


_DELTA_NET = {
    # The norm behind the delta rule divides by what may cancel in it.
    "rms_norm_eps": 1e-2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
    "layer_types": ["linear_attention", "full_attention", "linear_attention", "linear_attention"],
}
_DELTA_NET_SECOND = {
    "rms_norm_eps": 3e-3,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    "layer_types": ["full_attention", "linear_attention", "linear_attention", "full_attention"],
}

OVERRIDES: dict[str, Pair] = {
    "deepseek_v2": (
        {"rope_parameters": _MLA_YARN, "topk_method": "group_limited_greedy"},
        {"q_lora_rank": None, "topk_method": "greedy", "norm_topk_prob": False},
    ),
    "deepseek_v3": ({"rope_parameters": _MLA_YARN}, {"rope_parameters": _YARN, "rope_interleave": False}),
    "ernie4_5_moe": (
        {"use_bias": True},  # whose head is tied
        {"use_bias": False, "moe_layer_interval": 2, "moe_layer_end_index": -1, "moe_num_shared_experts": 0},
    ),
    "gemma2": ({}, {"attn_logit_softcapping": 2.0, "final_logit_softcapping": None}),
    "gemma3_text": (
        {"final_logit_softcapping": 4.0},
        {
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                "full_attention": {**_LINEAR, "rope_theta": 100000.0},
            }
        },
    ),
    "glm": ({}, {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}}),
    "glm4_moe": (
        {"use_qk_norm": True},
        {
            "use_qk_norm": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
        },
    ),
    "gpt_oss": (
        {"rope_parameters": {**_YARN, "truncate": False}, "swiglu_limit": 0.7},
        {"rope_parameters": {**_YARN, "truncate": True}, "swiglu_alpha": 1.3, "swiglu_limit": 0.5},
    ),
    "granite": ({"attention_multiplier": 0.15}, {"attention_multiplier": 0.3}),
    "llama": ({"rope_parameters": _LLAMA3}, {"rope_parameters": _DYNAMIC, "max_position_embeddings": 16}),
    "mixtral": ({}, {"sliding_window": None}),
    "mistral": ({}, {"sliding_window": None, "rope_parameters": _LINEAR}),
    "olmo3": (
        {
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                "full_attention": _YARN,
            }
        },
        {},
    ),
    "phi3": (
        {"rope_parameters": _longrope(16, 1.0), "original_max_position_embeddings": 16},
        {"rope_parameters": _longrope(4, 0.5), "original_max_position_embeddings": 16, "sliding_window": None},
    ),
    "qwen2": ({}, {"rope_parameters": _YARN}),
    "qwen3": ({}, {"rope_parameters": _YARN}),
    "qwen3_5_moe_text": (_DELTA_NET, _DELTA_NET_SECOND),
    "qwen3_5_text": (_DELTA_NET, _DELTA_NET_SECOND),
    "qwen3_moe": ({}, {"sliding_window": None}),
    "qwen3_next": (_DELTA_NET, _DELTA_NET_SECOND),
}
