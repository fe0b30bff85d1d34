# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from areal.experimental.models.archon.model_spec import get_model_spec
from areal.experimental.models.archon.proof import tiny_configs
from areal.experimental.models.archon.weights.adapter import text_name


def adapter_of(model_type, is_critic=False):
    spec = get_model_spec(model_type)
    args = spec.model_args_class.from_hf_config(tiny_configs(model_type)[0], is_critic=is_critic)
    return spec.state_dict_adapter_class(args)


def test_parameter_stored_with_others_is_not_converted_alone():
    with pytest.raises(ValueError, match="use groups"):
        adapter_of("phi3").convert_single_to_hf("layers.0.attention.wq.weight", torch.zeros(64, 64))


def test_parameter_stored_alone_is_converted_under_its_hf_name():
    ((name, tensor),) = adapter_of("llama").convert_single_to_hf("layers.2.attention.wo.weight", torch.ones(64, 64))
    assert name == "model.layers.2.self_attn.o_proj.weight"
    assert torch.equal(tensor, torch.ones(64, 64))


def test_critic_has_a_score_instead_of_a_head():
    names = adapter_of("qwen3", is_critic=True).weight_map.hf_names()
    assert "score.weight" in names
    assert "lm_head.weight" not in names


def test_name_in_a_composite_checkpoint_is_that_of_the_text_model():
    assert text_name("model.language_model.layers.1.x") == "model.layers.1.x"
    assert text_name("model.layers.1.x") == "model.layers.1.x"
