# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The reference: random HF models with nothing left at its default, their logits and gradients. Knows nothing of Archon.

Dimensions: T tokens of one sequence, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

NOISE = 0.2
"""Standard deviation added to every parameter and saved buffer: neutral ones would hide offsets, biases and roles."""

MAX_SENSITIVITY = (5e-6, 3e-5)
"""Largest change of logits and of gradients of an oracle when its weights move by one unit in the last place.

Two correct implementations differ by as much as rounding does. A random model with a clamp, a tie of experts or a vanishing
norm at just the wrong place has more, and would say nothing: another seed is drawn.
"""
_DRAWS = 3
"""Of rounding: two experts of nearly equal scores change places in half of them."""
_ATTEMPTS = 16
_SMALL_GRADIENT = 1e-3
"""Gradients below this share of the largest one are measured against it: what cancels exactly has only rounding left."""

Loss = Callable[[Tensor], Tensor]


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
        for name, parameter in model.named_parameters():
            if name.endswith(".A_log"):
                # HF spreads decay rates over (0, 16): sums of such log-decays leave fp32 few digits for their differences.
                parameter.copy_(torch.randn_like(parameter) * NOISE)
    return model


def steady_hf_model(
    config: PreTrainedConfig, sequences: Sequence[Tensor], loss: Loss, seed: int = 0
) -> PreTrainedModel:
    """The first of some random models whose results rounding hardly changes; see `MAX_SENSITIVITY`."""
    measured = []
    for attempt in range(_ATTEMPTS):
        model = random_hf_model(config, seed + 1000 * attempt)
        measured.append(_sensitivity(model, sequences, loss))
        if all(got <= limit for got, limit in zip(measured[-1], MAX_SENSITIVITY)):
            return model
    raise ValueError(
        f"expected a random {config.model_type} whose logits and gradients change by at most {MAX_SENSITIVITY} with the "
        f"last bit of its weights, got {min(measured)} at best; make the tiny config less extreme"
    )


def _sensitivity(model: PreTrainedModel, sequences: Sequence[Tensor], loss: Loss) -> tuple[float, float]:
    logits, gradients = logits_and_gradients(model, sequences, loss)
    weights = {parameter: parameter.data for parameter in model.parameters()}
    moved: list[tuple[float, float]] = []
    has_experts = any(parameter.ndim == 3 for parameter in weights)
    for _ in range(_DRAWS if has_experts else 1):
        for parameter, data in weights.items():
            parameter.data = data * (1 + torch.randn_like(data) * torch.finfo(data.dtype).eps)
        other_logits, other_gradients = logits_and_gradients(model, sequences, loss)
        moved.append((relative_error(other_logits, logits), worst_error(other_gradients, gradients)[1]))
    for parameter, data in weights.items():
        parameter.data = data
    of_logits, of_gradients = zip(*moved)
    return max(of_logits), max(of_gradients)


def logits_and_gradients(
    model: PreTrainedModel, sequences: Sequence[Tensor], loss: Loss
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits of the sequences, and the gradients of a loss by names of parameters."""
    model.zero_grad()
    with torch.enable_grad():  # the first use may be inside a check that needs none
        logits = logits_of(model, sequences)
        loss(logits).backward()
    return logits.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def relative_error(got: Tensor, wanted: Tensor, floor: float = 0.0) -> float:
    """Largest difference over the largest wanted value, which counts as at least `floor`; infinite where shapes differ."""
    if got.shape != wanted.shape or not bool(got.isfinite().all()):
        return float("inf")
    scale = max(float(wanted.abs().max()), floor, torch.finfo(torch.float32).tiny)
    return float((got - wanted).abs().max()) / scale


def worst_error(got: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> tuple[str, float]:
    """The tensor of `wanted` with the largest relative error, and that error; tiny ones are measured against the largest."""
    floor = _SMALL_GRADIENT * max(float(tensor.abs().max()) for tensor in wanted.values())
    errors = {name: relative_error(got[name], tensor, floor) for name, tensor in wanted.items()}
    worst = max(errors, key=errors.__getitem__)
    return worst, errors[worst]


def logits_of(model: PreTrainedModel, sequences: Sequence[Tensor]) -> Tensor:
    """Logits `[sum T, V]` of sequences that were run one by one."""
    return torch.cat([model(input_ids=tokens_T[None], use_cache=False).logits[0] for tokens_T in sequences])


def hidden_of(model: PreTrainedModel, sequences: Sequence[Tensor]) -> Tensor:
    """Final normalised hidden states `[sum T, E]`, of which a critic's values are a linear function."""
    states: list[Tensor] = []
    base = model.base_model
    if base is not model:
        states = [base(input_ids=t[None], use_cache=False).last_hidden_state[0] for t in sequences]
    else:  # classes that name no base model: what their head reads
        head = model.get_output_embeddings()
        handle = head.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0][0]))
        logits_of(model, sequences)
        handle.remove()
    return torch.cat(states)


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
