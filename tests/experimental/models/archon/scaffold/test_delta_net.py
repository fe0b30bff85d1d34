# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Gated DeltaNet is recognised from HF modules that store its projections in three ways."""

import pytest
import torch
from transformers import OlmoHybridConfig, Qwen3NextConfig
from transformers.models.qwen3_5.configuration_qwen3_5 import Qwen3_5TextConfig

from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.hf_model import build, random_tokens, trace
from areal.experimental.models.archon.scaffold.observe import Observer
from areal.experimental.models.archon.scaffold.verify import forward_error, ours_of

SIZES = {
    "vocab_size": 41,
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 6,
    "linear_conv_kernel_dim": 3,
    "pad_token_id": None,
}
FUSED = Qwen3NextConfig(**SIZES, head_dim=8, num_experts=0, rms_norm_eps=1e-3)
SEPARATE = Qwen3_5TextConfig(**SIZES, head_dim=8, rms_norm_eps=1e-3)
MANY = OlmoHybridConfig(**{**SIZES, "linear_num_key_heads": 4}, linear_allow_neg_eigval=True)


@pytest.mark.parametrize(
    ("config", "key_heads", "step_scale"),
    [(FUSED, 2, 1.0), (SEPARATE, 2, 1.0), (MANY, 4, 2.0)],
    ids=["fused", "4", "6"],
)
def test_gated_delta_net_in_an_hf_model_is_measured_and_our_model_gives_its_logits(config, key_heads, step_scale):
    model = build(config, 0)
    record = trace(model, random_tokens(config, 0))
    observation = Observer(record).observe()
    net = observation.args.layers[0].mixer
    heads = (net.num_key_heads, net.num_value_heads, net.key_head_dim, net.value_head_dim, net.conv_kernel)
    assert (heads, net.step_scale) == ((key_heads, 4, 8, 6, 3), step_scale)
    assert forward_error(model, ours_of(observation.args, observation.tensors), record.tokens) < 2e-5


def test_recurrence_of_another_rule_is_refused_with_the_closest_readings():
    model = build(SEPARATE, 0)
    record = trace(model, random_tokens(SEPARATE, 0))
    with torch.no_grad():  # as if HF had computed with other decays than those it has
        model.get_parameter("model.layers.0.linear_attn.A_log").add_(1.0)
    with pytest.raises(Unexplained, match=r"linear_attn: is not a gated delta rule.*closest: silu"):
        Observer(record).observe()
