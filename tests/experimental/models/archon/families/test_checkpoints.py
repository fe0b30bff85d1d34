# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that hold more than the text model: vision towers, multi-token prediction layers, old buffers."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from areal.experimental.models.archon.model_spec import get_model_spec
from areal.experimental.models.archon.proof import oracle
from areal.experimental.models.archon.proof.tiny import tiny_configs
from areal.utils.errors import CheckpointError

TINY_VISION = {
    "depth": 1,
    "hidden_size": 16,
    "num_heads": 2,
    "intermediate_size": 16,
    "out_hidden_size": 64,
    "patch_size": 4,
    "num_position_embeddings": 16,
}


def adapter_of(config):
    spec = get_model_spec(config.model_type)
    return spec.state_dict_adapter_class(spec.model_args_class.from_hf_config(config))


@pytest.mark.parametrize("model_type", ["qwen3_5", "qwen3_5_moe"])
def test_composite_checkpoint_loads_its_text_model(tmp_path, model_type):
    config = tiny_configs(model_type)[0]
    for name, value in TINY_VISION.items():
        setattr(config.vision_config, name, value)
    hf_model = AutoModelForImageTextToText.from_config(config, attn_implementation="eager", dtype=torch.float32)
    state = oracle.save(hf_model, tmp_path)
    assert any(name.startswith("model.visual.") for name in state)
    state["mtp.fc.weight"] = torch.zeros(2)
    ours = adapter_of(config).from_hf(state)
    embedding = state["model.language_model.embed_tokens.weight"]
    assert torch.equal(ours["tok_embeddings.weight"], embedding)


@pytest.mark.parametrize(
    ("model_type", "name"),
    [
        ("deepseek_v3", "model.layers.4.eh_proj.weight"),
        ("glm4_moe", "model.layers.4.shared_head.norm.weight"),
        ("qwen3_next", "mtp.layers.0.input_layernorm.weight"),
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq"),
    ],
)
def test_tensors_that_nothing_reads_are_skipped(tmp_path, model_type, name):
    config = tiny_configs(model_type)[0]
    state = oracle.save(AutoModelForCausalLM.from_config(config), tmp_path)
    adapter = adapter_of(config)
    assert adapter.from_hf({**state, name: torch.zeros(3)}).keys() == adapter.from_hf(state).keys()


def test_layer_behind_the_last_one_is_refused_where_the_family_has_none(tmp_path):
    config = tiny_configs("llama")[0]
    state = oracle.save(AutoModelForCausalLM.from_config(config), tmp_path)
    with pytest.raises(CheckpointError, match=r"unknown \['model.layers.4.mlp.up_proj.weight'\]"):
        adapter_of(config).from_hf({**state, "model.layers.4.mlp.up_proj.weight": torch.zeros(3)})
