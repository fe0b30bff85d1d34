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
    assert (type(saved), saved.num_labels, saved.tie_word_embeddings) == (type(config), 1, False)
    for name in saved.architectures or ():
        assert name in dir(transformers)
        assert name.endswith(("ForTokenClassification", "ForSequenceClassification"))
