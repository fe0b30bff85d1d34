# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The reference: random HF models with nothing left at its default, their logits and gradients. Knows nothing of Archon.

Dimensions: T tokens of one sequence, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

NOISE = 0.2
"""Standard deviation added to every parameter and saved buffer: neutral ones would hide offsets, biases and roles."""


def random_hf_model(config: PreTrainedConfig, seed: int = 0) -> PreTrainedModel:
    """The causal language model of a config: fp32, eager attention, eval mode, every saved tensor perturbed."""
    torch.manual_seed(seed)
    text = config.get_text_config()
    model = AutoModelForCausalLM.from_config(text, attn_implementation="eager", dtype=torch.float32).eval()
    distinct = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
    with torch.no_grad():
        for tensor in distinct.values():
            if tensor.is_floating_point():
                tensor.add_(torch.randn_like(tensor) * NOISE)
    return model


def logits_of(model: PreTrainedModel, sequences: Sequence[Tensor]) -> Tensor:
    """Logits `[sum T, V]` of sequences that were run one by one."""
    return torch.cat([model(input_ids=tokens_T[None], use_cache=False).logits[0] for tokens_T in sequences])


def hidden_of(model: PreTrainedModel, sequences: Sequence[Tensor]) -> Tensor:
    """Final normalised hidden states `[sum T, E]`, of which a critic's values are a linear function."""
    states = (model.base_model(input_ids=t[None], use_cache=False).last_hidden_state[0] for t in sequences)
    return torch.cat(list(states))


def save(model: PreTrainedModel, folder: Path) -> dict[str, Tensor]:
    """What `save_pretrained` writes: names and layouts of checkpoints, which are not those of the module."""
    model.save_pretrained(folder)
    return read(folder)


def read(folder: Path) -> dict[str, Tensor]:
    """All tensors of the safetensors files of a folder."""
    return {name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(path).items()}


def saved_gradients(model: PreTrainedModel, folder: Path) -> dict[str, Tensor]:
    """The gradients of all parameters under the names of checkpoints, by saving them as if they were the weights.

    Buffers are saved with their values.
    """
    with _gradients_as_weights(model):
        return save(model, folder)


@contextmanager
def _gradients_as_weights(model: PreTrainedModel) -> Iterator[None]:
    weights = {parameter: parameter.data for parameter in model.parameters()}
    try:
        for parameter in weights:
            parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        yield
    finally:
        for parameter, data in weights.items():
            parameter.data = data
