# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""From a model directory to a runner: Archon's decoder if it computes what the config asks for, else the HF module.

Called by the server's start-up and by in-process users.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PretrainedConfig

from areal.engine.native.archon_runner import ArchonRunner
from areal.engine.native.runner import ModelInfo, Runner
from areal.experimental.models.archon.args import DecoderArgs, UnsupportedConfig
from areal.experimental.models.archon.decoder import Decoder
from areal.experimental.models.archon.registry import ModelFamily, family_of
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
    target = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    try:
        family = family_of(config.model_type)
        args = family.args_from_hf(config.to_dict())
    except UnsupportedConfig as reason:
        logger.warning("serving %s through its HF module, slower: %s", directory, reason)
        return _hf_runner(config, directory, DTYPES[dtype], target, str(reason))
    return _archon_runner(config, directory, family, args, DTYPES[dtype], target)


def _archon_runner(
    config: PretrainedConfig,
    directory: Path,
    family: ModelFamily,
    args: DecoderArgs,
    dtype: torch.dtype,
    device: torch.device,
) -> ArchonRunner:
    with torch.device("meta"):
        decoder = Decoder(args).to(dtype)
    num_params = sum(p.numel() for p in decoder.parameters())
    info = _info(config, directory, "archon", None, args.vocab_size, args.max_positions, num_params, dtype, device)
    runner = ArchonRunner(decoder, family.weight_map(args), info, device)
    runner.apply_weights(runner.read_weights(directory))
    return runner


def _hf_runner(
    config: PretrainedConfig, directory: Path, dtype: torch.dtype, device: torch.device, reason: str
) -> Runner:
    from transformers import AutoModelForCausalLM

    from areal.engine.native.hf_runner import HFRunner

    text = config.get_text_config()
    with torch.device("meta"):
        num_params = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    positions = text.to_dict().get("max_position_embeddings") or text.to_dict().get("n_positions") or 2**20
    info = _info(config, directory, "hf", reason, text.vocab_size, positions, num_params, dtype, device)
    return HFRunner(config, directory, info, dtype, device)


def _info(
    config: PretrainedConfig,
    directory: Path,
    runner: str,
    fallback: str | None,
    vocab_size: int,
    max_positions: int,
    num_params: int,
    dtype: torch.dtype,
    device: torch.device,
) -> ModelInfo:
    return ModelInfo(
        model_type=config.model_type,
        runner=runner,
        fallback=fallback,
        vocab_size=vocab_size,
        max_positions=max_positions,
        num_params=num_params,
        dtype=str(dtype).removeprefix("torch."),
        device=str(device),
        eos_token_ids=_eos_token_ids(config, directory),
        config=config.to_dict(),
    )


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
