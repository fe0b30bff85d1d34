# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Models that no option computes are refused with the module, and the config's entry where there is one, that says so."""

import pytest

from areal.experimental.models.archon.scaffold.findings import Refused, Unexplained
from areal.experimental.models.archon.scaffold.pipeline import discover

REASONS = {
    "axk2": r"layers\.0\.input_layernorm: AXK2GatedRMSNorm stands before the mixer and is not a normalisation",
    "bamba": r"layers\.0\.mamba: BambaMixer does not call transformers' attention function",
    "deepseek_v4": r"the first block reads 4 streams \(rows\) a token",
    "falcon_h1": r"layers\.0\.mamba: FalconH1Mixer convolves tokens beside the mixer model\.layers\.0\.self_attn",
    "gemma4_text": r"the block holds mlp, per_layer_input_gate, per_layer_projection, layer_scalar",
    "glm_moe_dsa": r"attention holds model\.layers\.0\.self_attn\.indexer \(GlmMoeDsaIndexer\)",
    "jetmoe": r"JetMoeParallelExperts\): experts inside a mixer",
    "kimi_linear": r"KimiLinearDeltaAttention does not call .* \(config: layer_types\[0\] is 'linear_attention'\)",
}


@pytest.mark.parametrize("model_type", REASONS)
def test_model_that_no_option_computes_is_refused_with_the_module_that_says_so(model_type):
    with pytest.raises(Unexplained, match=REASONS[model_type]) as caught:
        discover(model_type, model_type, model_type, lambda text: None)
    assert caught.value.where.startswith("model.")


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("mamba2", r"its blocks hold Mamba2Mixer \(a convolution, state space or linear attention\)"),
        (
            "dbrx",
            r"builds no model of its default config either.*'rope_theta' \(modeling_dbrx\.py:\d+: self\.rope_theta",
        ),
        ("xlstm", r"its blocks hold .*xLSTMLayer.* and no attention"),
        (
            "longcat_flash",
            r"no list of num_hidden_layers = 8 blocks .* but model\.layers \(4 LongcatFlashDecoderLayer\)",
        ),
    ],
)
def test_model_without_a_tiny_config_is_refused_with_its_mixers_and_the_line_that_failed(model_type, reason):
    with pytest.raises(Refused, match=reason):
        discover(model_type, model_type, model_type, lambda text: None)
