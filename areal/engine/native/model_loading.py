# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""From a model directory to a runner: Archon's decoder if it computes what the config asks for, else the HF module.

Called by the server's start-up and by in-process users.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PretrainedConfig

from areal.engine.native.archon_runner import ArchonRunner
from areal.engine.native.runner import ModelInfo, Runner
from areal.experimental.models.archon.base import UnsupportedConfig
from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.model_spec import ModelSpec, get_model_spec
from areal.utils.errors import ConfigError
from areal.utils.logging import getLogger

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
logger = getLogger("native")


def build_runner(model_path: str | Path, dtype: str = "float32", device: str = "auto") -> Runner:
    """Load the model of a `save_pretrained` directory. `device` is `auto` (CUDA if there is one), `cpu`, `cuda`, ...

    A config that Archon does not cover is served through its HF module, with a log line that names the field. Raises
    `ConfigError` for a path or dtype that is none, `CheckpointError` for weights that do not fit the config.
    """
    directory = Path(model_path)
    if not (directory / "config.json").is_file():
        raise ConfigError(f"expected a directory with config.json, got {model_path}; download or save the model first")
    if dtype not in DTYPES:
        raise ConfigError(f"expected a dtype of {', '.join(DTYPES)}, got {dtype!r}")
    config = AutoConfig.from_pretrained(directory)
    target = _device(device)
    info = ModelInfo(
        model_type=config.model_type,
        runner="archon",
        fallback=None,
        vocab_size=config.get_text_config().vocab_size,
        max_positions=_max_positions(config),
        num_params=0,
        dtype=dtype,
        device=str(target),
        eos_token_ids=_eos_token_ids(config, directory),
        config=config.to_dict(),
    )
    try:
        spec = get_model_spec(config.model_type)
        args = spec.model_args_class.from_hf_config(config)
    except UnsupportedConfig as reason:
        logger.warning("serving %s through its HF module, slower: %s", directory, reason)
        return _hf_runner(config, directory, replace(info, runner="hf", fallback=str(reason)), target)
    return _archon_runner(directory, spec, args, info, target)


def _device(name: str) -> torch.device:
    has_cuda = torch.cuda.is_available()
    if name.startswith("cuda") and not has_cuda:
        raise ConfigError(f"expected a device of this machine (it has no CUDA), got {name!r}; use cpu or auto")
    return torch.device(("cuda" if has_cuda else "cpu") if name == "auto" else name)


def _archon_runner(
    directory: Path, spec: ModelSpec, args: DecoderArgs, info: ModelInfo, device: torch.device
) -> ArchonRunner:
    dtype = DTYPES[info.dtype]
    with torch.device("meta"):
        model = spec.model_class(args).to(dtype)
    num_params = sum(p.numel() for p in model.parameters())
    info = replace(info, num_params=num_params, max_positions=_servable_positions(args, info.max_positions))
    runner = ArchonRunner(model, spec.state_dict_adapter_class(args, directory), info, dtype, device)
    runner.apply_weights(runner.read_weights(directory))
    return runner


def _servable_positions(args: DecoderArgs, max_positions: int) -> int:
    """Positions for which the rotary tables of a sequence do not change while it grows: cached keys would be of another.

    Training turns each sequence by the table of its final length, so beyond this the log-probs of server and trainer differ.
    """
    limits = {"dynamic": lambda rope: rope.max_positions, "longrope": lambda rope: rope.original_max_positions}
    fixed = [limits[rope.kind](rope) for rope in args.ropes.values() if rope.kind in limits]
    if fixed and min(fixed) < max_positions:
        logger.warning(
            "serving %d of %d positions: beyond them rotary tables depend on the length", min(fixed), max_positions
        )
    return min([max_positions, *fixed])


def _hf_runner(config: PretrainedConfig, directory: Path, info: ModelInfo, device: torch.device) -> Runner:
    # Imported here: Archon's path needs none of the HF modelling code, which takes seconds to import.
    from transformers import AutoModelForCausalLM

    from areal.engine.native.hf_runner import HFRunner

    with torch.device("meta"):
        num_params = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    return HFRunner(config, directory, replace(info, num_params=num_params), DTYPES[info.dtype], device)


def _max_positions(config: PretrainedConfig) -> int:
    """Positions the model was made for; a config that names none has no limit of its own."""
    values = config.get_text_config().to_dict()
    return values.get("max_position_embeddings") or values.get("n_positions") or 2**31


def _eos_token_ids(config: PretrainedConfig, directory: Path) -> tuple[int, ...]:
    """The end ids of generation_config.json if it names some, else of config.json, as HF generate takes them."""
    values: dict[str, Any] = {}
    path = directory / "generation_config.json"
    if path.is_file():
        values = json.loads(path.read_text(encoding="utf-8"))
    eos = values.get("eos_token_id")
    if eos is None:
        eos = config.get_text_config().to_dict().get("eos_token_id")
    if eos is None:
        return ()
    return tuple(eos) if isinstance(eos, list) else (eos,)
