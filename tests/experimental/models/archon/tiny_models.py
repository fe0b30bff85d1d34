# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny random HF models with every parameter perturbed: default ones and zeros would hide norm and bias mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.configuration_auto import AutoConfig

SHAPE: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": None,  # HF freezes the embedding row of a pad token
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
LINEAR_ROPE = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}


def tiny_model(model_type: str, seed: int = 0, **overrides: object) -> PreTrainedModel:
    """A random fp32 model in eval mode whose every parameter differs from its default."""
    config = AutoConfig.for_model(model_type, **{**SHAPE, **overrides})
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def save_tiny(directory: Path, model_type: str, seed: int = 0, **overrides: object) -> PreTrainedModel:
    """`tiny_model`, also written to `directory` with `save_pretrained`."""
    model = tiny_model(model_type, seed, **overrides)
    model.save_pretrained(directory)
    return model
