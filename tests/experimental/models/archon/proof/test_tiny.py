# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The tiny configs show what they are meant to show; a config at its defaults proves nothing about an option."""

import pytest

from areal.experimental.models.archon.model_spec import get_model_spec, get_supported_model_types
from areal.experimental.models.archon.proof import random_hf_model, tiny_configs
from areal.experimental.models.archon.proof.case import LENGTHS

WINDOWED = ("gemma2", "gemma3_text", "gpt_oss", "mistral", "mixtral", "olmo3", "phi3", "qwen2", "qwen3", "qwen3_moe")


def args_of(model_type, index=0):
    config = tiny_configs(model_type)[index]
    return get_model_spec(model_type).model_args_class.from_hf_config(config)


@pytest.mark.parametrize("model_type", sorted(get_supported_model_types()))
def test_two_tiny_configs_differ_in_widths_heads_and_tying(model_type):
    first, second = (config.get_text_config() for config in tiny_configs(model_type))
    assert first.hidden_size != second.hidden_size
    assert first.num_attention_heads != second.num_attention_heads
    assert first.tie_word_embeddings != second.tie_word_embeddings
    assert second.hidden_size // second.num_attention_heads != first.hidden_size // first.num_attention_heads


@pytest.mark.parametrize("model_type", WINDOWED)
def test_window_is_smaller_than_the_prompt(model_type):
    windows = {score.window for score in args_of(model_type).scores()} - {None}
    assert windows
    assert max(windows) < max(LENGTHS)


@pytest.mark.parametrize("model_type", ["deepseek_v2", "deepseek_v3", "glm4_moe"])
def test_experts_are_in_groups_behind_a_dense_layer(model_type):
    args = args_of(model_type)
    assert 0 not in args.moe_layers and args.moe_layers
    router = args.layers[args.moe_layers[0]].ffn.router
    assert router.num_groups > router.num_limited_groups > 1
    assert router.scale != 1.0


def test_every_layer_type_appears():
    for model_type in ("qwen3_5_text", "qwen3_next", "gemma3_text", "gpt_oss"):
        assert len(set(tiny_configs(model_type)[0].layer_types)) == 2


def test_random_model_has_nothing_at_its_default():
    model = random_hf_model(tiny_configs("glm4_moe")[1], seed=3)
    for name, tensor in model.state_dict().items():
        assert len(tensor.unique()) > 1, name
