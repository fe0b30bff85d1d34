# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a HF model directory beside the weights: where they are, and what a saved model needs of them."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    GenerationConfig,
    PreTrainedConfig,
)

from areal.models.hf_model import model_class_of
from areal.utils.errors import CheckpointError

_WEIGHTS = ["*.safetensors", "*.safetensors.index.json"]


def weight_directory(path: str) -> Path:
    """The local directory of a HF directory or hub id; downloads weights that are not there yet."""
    if Path(path).is_dir():
        return Path(path)
    try:
        return Path(snapshot_download(path, allow_patterns=_WEIGHTS))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(f"expected a HF model (hub id or directory) at {path!r}, got: {error}") from error


def save_hf_configs(config: PreTrainedConfig, source: str, is_critic: bool, dtype: torch.dtype, folder: Path) -> None:
    """Write `config.json` for a model of this dtype, and the `generation_config.json` of `source` if it has one.

    Of a composite model, that of its text model: nothing else of it is saved.
    """
    is_tied = config.tie_word_embeddings  # the composite model ties, not its text part
    config = copy.deepcopy(config.get_text_config())
    config.dtype, config.tie_word_embeddings = dtype, is_tied
    if is_critic:
        config.architectures = _critic_architectures(config)
        config.num_labels = 1
        config.tie_word_embeddings = False
    else:
        config.architectures = [model_class_of(config).__name__]
    config.save_pretrained(folder)
    if not is_critic:
        _generation_config(config, source).save_pretrained(folder)


def _critic_architectures(config: PreTrainedConfig) -> list[str] | None:
    """The HF class with a `score` on top of this model; None where transformers has none, and only areal loads the critic."""
    for auto_class in (AutoModelForTokenClassification, AutoModelForSequenceClassification):
        if type(config) in auto_class._model_mapping:
            return [auto_class._model_mapping[type(config)].__name__]
    return None


def _generation_config(config: PreTrainedConfig, source: str) -> GenerationConfig:
    try:
        return GenerationConfig.from_pretrained(source)
    except OSError:  # it has none: as HF does
        return GenerationConfig.from_model_config(config)
