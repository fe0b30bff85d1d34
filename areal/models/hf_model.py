# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Builds HF causal LMs for training, and moves weights between them and HF names.

Called by the FSDP engine before and after it shards the model. Loading is strict: a tensor that is missing, unexpected
or of another shape is an error, never a random initialisation. Must never change the caller's config object.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedConfig, PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from areal.utils.errors import CheckpointError, ConfigError
from areal.utils.hf_utils import no_progress_bars


def load_hf_config(path: str, disable_dropout: bool) -> PreTrainedConfig:
    """The model config of a HF directory or hub id, with dropout switched off if asked for."""
    try:
        config = AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"expected a HF model (hub id or directory) at {path!r}, got: {error}; check actor.path"
        ) from error
    if disable_dropout:
        for name, value in config.to_dict().items():
            if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop") or name == "layerdrop"):
                setattr(config, name, 0.0)
    return config


def model_class_of(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """The causal-LM class of a config; `ConfigError` for architectures that are not causal LMs."""
    try:
        return AutoModelForCausalLM._model_mapping[type(config)]
    except KeyError:
        raise ConfigError(f"expected a causal language model, got model_type={config.model_type!r}") from None


def random_model(config: PreTrainedConfig, attn_implementation: str, dtype: torch.dtype) -> PreTrainedModel:
    """A model with HF's random initialisation, from torch's current generator."""
    config = copy.deepcopy(config)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attn_implementation, dtype=dtype)


def pretrained_model(
    path: str, config: PreTrainedConfig, attn_implementation: str, dtype: torch.dtype
) -> PreTrainedModel:
    """The model of a HF directory or hub id; `CheckpointError` unless every weight comes from its files."""
    with no_progress_bars():
        model, info = AutoModelForCausalLM.from_pretrained(
            path,
            config=copy.deepcopy(config),
            attn_implementation=attn_implementation,
            dtype=dtype,
            output_loading_info=True,
        )
    problems = {kind: sorted(map(str, info[kind])) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if found := {kind: names for kind, names in problems.items() if names}:
        raise CheckpointError(f"expected all weights of {type(model).__name__} in {path}, and no others; got {found}")
    return model


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Recompute the activations of each block in the backward pass instead of keeping them."""
    with warnings.catch_warnings():
        # The new name of this method exists in the newest transformers only, the old one in all that areal takes.
        warnings.filterwarnings("ignore", "`gradient_checkpointing_enable` is deprecated", FutureWarning)
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def transformer_blocks(model: PreTrainedModel) -> list[nn.Module]:
    """The repeated blocks of a model, in order; `ConfigError` when its class does not name them."""
    names = set(model._no_split_modules or ())
    blocks = [module for module in model.modules() if type(module).__name__ in names]
    if not blocks:
        raise ConfigError(f"expected {type(model).__name__} to name its blocks in _no_split_modules, got {names}")
    return blocks


def shared_parameter_names(module: nn.Module) -> set[str]:
    """Names of parameters that are the same object as one with an earlier name (tied embeddings)."""
    seen: set[int] = set()
    repeated = set()
    for name, param in module.named_parameters(remove_duplicate=False):
        if id(param) in seen:
            repeated.add(name)
        seen.add(id(param))
    return repeated


def iterate_hf_weights(model: PreTrainedModel, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """HF names and full CPU tensors, floating ones in `dtype`, tied ones once, in a fixed order.

    Sharded tensors are gathered one by one on all ranks; a consumer that stops early leaves no rank waiting, because the
    remaining gathers still run when the iterator is closed. Families whose HF files arrange weights differently from the
    module (stacked experts) are gathered whole and converted back.
    """
    tied = shared_parameter_names(model)
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name not in tied}
    if _has_own_file_names(model, tensors):
        full = {name: _to_cpu(tensor, dtype) for name, tensor in tensors.items()}
        yield from revert_weight_conversion(model, full).items()
        return
    remaining = iter(tensors.items())
    try:
        for name, tensor in remaining:
            yield name, _to_cpu(tensor, dtype)
    finally:
        for _, tensor in remaining:
            _to_cpu(tensor, dtype)


def save_configs(model: PreTrainedModel, architecture: str, dtype: torch.dtype, folder: Path) -> None:
    """Write `config.json` and `generation_config.json` as HF would for a model of this class and dtype."""
    config = copy.deepcopy(model.config)
    config.architectures = [architecture]
    config.dtype = dtype
    config.save_pretrained(folder)
    generation_config = model.generation_config
    if isinstance(generation_config, GenerationConfig):
        generation_config.save_pretrained(folder)


def _has_own_file_names(model: PreTrainedModel, tensors: dict[str, Tensor]) -> bool:
    """Whether HF would write these tensors under other names or in other shapes."""
    stand_ins = {name: torch.empty(tensor.shape, dtype=tensor.dtype, device="meta") for name, tensor in tensors.items()}
    return revert_weight_conversion(model, dict(stand_ins)).keys() != stand_ins.keys()


def _to_cpu(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    full = tensor.detach()
    dtype = dtype if full.is_floating_point() else full.dtype
    if isinstance(full, DTensor):
        return full.full_tensor().to("cpu", dtype)
    # A copy: the next update must not change what a consumer holds.
    return full.to("cpu", dtype, copy=True)
