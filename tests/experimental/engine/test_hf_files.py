# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Configs beside saved weights, of every family that Archon runs."""

from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoConfig

from areal.experimental.engine.hf_files import save_hf_configs
from areal.experimental.models.archon.model_spec import get_supported_model_types
from areal.experimental.models.archon.proof.tiny import tiny_configs


@pytest.mark.parametrize("model_type", sorted(get_supported_model_types()))
def test_config_of_a_critic_of_any_family_names_a_class_that_exists_or_none(model_type: str, tmp_path: Path):
    config = tiny_configs(model_type)[0]
    save_hf_configs(config, str(tmp_path), is_critic=True, dtype=torch.bfloat16, folder=tmp_path)
    saved = AutoConfig.from_pretrained(tmp_path)
    assert type(saved) is type(config.get_text_config())
    assert (saved.num_labels, saved.tie_word_embeddings) == (1, False)
    for name in saved.architectures or ():
        assert name in dir(transformers)
        assert name.endswith(("ForTokenClassification", "ForSequenceClassification"))


@pytest.mark.parametrize("is_tied", [False, True])
def test_config_of_a_composite_model_is_that_of_its_text_model(is_tied: bool, tmp_path: Path):
    config = tiny_configs("qwen3_5")[0]
    config.tie_word_embeddings = is_tied
    save_hf_configs(config, str(tmp_path), is_critic=False, dtype=torch.bfloat16, folder=tmp_path)
    saved = AutoConfig.from_pretrained(tmp_path)
    assert (saved.model_type, saved.tie_word_embeddings) == ("qwen3_5_text", is_tied)
    assert saved.architectures == ["Qwen3_5ForCausalLM"]
