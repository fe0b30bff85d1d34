# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Teach a tiny model to show its work: SFT from scratch, then asynchronous GRPO (`make demo`; see the README here)."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import Qwen2Config

from areal import PPOTrainer, SFTTrainer, run_script
from areal.api.cli_args import GRPOConfig, SFTConfig, load_expr_config
from areal.dataset import get_custom_dataset
from areal.dataset.small_tokenizer import build_arithmetic_tokenizer
from areal.utils.hf_utils import load_hf_tokenizer

REWARD = "arithmetic"


@dataclass
class DemoConfig(GRPOConfig):
    workflow: str = "rlvr"
    workflow_kwargs: dict[str, Any] = field(default_factory=dict)
    train_reward_fn: str = REWARD


def make_model(path: str) -> None:
    """A Qwen2-shaped model of 0.38 M parameters, as a config and a tokenizer: SFT gives it its first weights."""
    tokenizer = build_arithmetic_tokenizer(path)
    config = Qwen2Config.from_json_file(Path(__file__).with_name("model.json"))
    config.vocab_size = len(tokenizer)
    config.save_pretrained(path)


def warm_start(seed: int, fileroot: str, path: str) -> None:
    argv = ["--config", str(Path(__file__).with_name("sft.yaml")), f"seed={seed}", f"cluster.fileroot={fileroot}"]
    config, _ = load_expr_config(argv, SFTConfig)
    make_model(config.actor.path)
    dataset = get_custom_dataset("train", config.train_dataset, load_hf_tokenizer(config.tokenizer_path))
    with SFTTrainer(config, dataset) as trainer:
        trainer.train()
        trainer.save_model(path)


def main(argv: list[str]) -> None:
    config, _ = load_expr_config(argv, DemoConfig)
    if not (Path(config.actor.path) / "model.safetensors").exists():
        warm_start(config.seed, config.cluster.fileroot, config.actor.path)
    tokenizer = load_hf_tokenizer(config.tokenizer_path)
    parts = [config.train_dataset, config.valid_dataset]
    data = [get_custom_dataset(part.split, part, tokenizer) for part in parts if part is not None]
    kwargs = {"gconfig": config.gconfig, "tokenizer": config.tokenizer_path, "reward_fn": REWARD}
    with PPOTrainer(config, *data) as trainer:
        trainer.train(
            workflow=config.workflow,
            workflow_kwargs={**kwargs, **config.workflow_kwargs, "reward_fn": config.train_reward_fn},
            eval_workflow="rlvr",
            eval_workflow_kwargs=kwargs,
        )


if __name__ == "__main__":
    sys.exit(run_script(main))
