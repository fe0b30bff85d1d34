# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a family does not compute is refused with the name of the field that asks for it."""

import pytest

from areal.experimental.models.archon.base import UnsupportedConfig
from areal.experimental.models.archon.model_spec import get_model_spec
from areal.experimental.models.archon.proof import tiny_configs

ROPE = {"rope_type": "default", "rope_theta": 10000.0}
REFUSED = [
    ("llama", {"hidden_act": "tanh"}, "hidden_act"),
    ("llama", {"attention_dropout": 0.1}, "attention_dropout"),
    ("llama", {"sliding_window": 16}, "sliding_window"),
    ("llama", {"layer_types": ["sliding_attention"] * 4}, "layer_types"),
    ("llama", {"quantization_config": {"quant_method": "fp8"}}, "quantization_config"),
    ("llama", {"rope_parameters": {**ROPE, "rope_type": "spiral"}}, "rope_parameters.rope_type"),
    ("llama", {"rope_parameters": {**ROPE, "frequency_shift": 2.0}}, "rope_parameters.frequency_shift"),
    (
        "llama",
        {"rope_parameters": {**ROPE, "partial_rotary_factor": 0.5}},
        "rope_parameters of default: partial_rotary_factor",
    ),
    ("llama", {"rope_parameters": {**ROPE, "attention_factor": 1.5}}, "rope_parameters.attention_factor"),
    ("llama", {"head_dim": 7}, "rope_parameters: rotating dimensions of a head"),
    ("qwen2", {"layer_types": ["chunked_attention"] * 4}, "layer_types"),
    ("qwen2", {"layer_types": ["sliding_attention"] * 4, "use_sliding_window": False}, "sliding_window"),
    ("qwen2", {"layer_types": ["full_attention"] * 3}, "layer_types"),
    ("qwen3_5_text", {"attn_output_gate": False}, "attn_output_gate"),
    ("qwen3_next", {"layer_types": ["sliding_attention"] * 4}, "layer_types"),
    ("mixtral", {"router_jitter_noise": 0.1}, "router_jitter_noise"),
    ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ("gemma3_text", {"attn_logit_softcapping": 20.0}, "attn_logit_softcapping"),
    ("phi3", {"resid_pdrop": 0.1}, "resid_pdrop"),
    ("phi3", {"full_attn_mod": 2}, "full_attn_mod"),
    ("deepseek_v2", {"topk_method": "noaux_tc"}, "topk_method"),
    ("deepseek_v2", {"norm_topk_prob": True}, "norm_topk_prob"),
    ("deepseek_v3", {"scoring_func": "softmax"}, "scoring_func"),
    ("deepseek_v3", {"moe_layer_freq": 2}, "moe_layer_freq"),
    ("gpt_oss", {"quantization_config": {"quant_method": "mxfp4"}}, "quantization_config"),
    ("ernie4_5_moe", {"moe_gate": "hash"}, "moe_gate"),
]


@pytest.mark.parametrize(("model_type", "fields", "refused"), REFUSED)
def test_config_that_asks_for_more_is_refused_by_field(model_type, fields, refused):
    config = tiny_configs(model_type)[0]
    for name, value in fields.items():
        setattr(config, name, value)
    if fields.get("use_sliding_window") is False:
        config.sliding_window = None  # as HF's constructor does
    with pytest.raises(UnsupportedConfig) as error:
        get_model_spec(model_type).model_args_class.from_hf_config(config)
    assert error.value.field == refused
    assert refused in str(error.value)
