# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Asynchronous GRPO on GSM8K: `python examples/math/gsm8k_rl.py --config examples/math/gsm8k_grpo.yaml [key=value ...]`."""

import sys

from areal import PPOTrainer, run_script
from areal.api.cli_args import GRPOConfig, load_expr_config
from areal.dataset import get_custom_dataset
from areal.utils.hf_utils import load_hf_tokenizer


def main(argv: list[str]) -> None:
    config, _ = load_expr_config(argv, GRPOConfig)
    tokenizer = load_hf_tokenizer(config.tokenizer_path)
    train_dataset = get_custom_dataset("train", config.train_dataset, tokenizer)
    valid_dataset = get_custom_dataset("test", config.valid_dataset, tokenizer) if config.valid_dataset else None
    with PPOTrainer(config, train_dataset, valid_dataset) as trainer:
        trainer.train(
            workflow="areal.workflow.rlvr.RLVRWorkflow",
            workflow_kwargs={
                "reward_fn": "areal.reward.gsm8k.gsm8k_reward_fn",
                "gconfig": config.gconfig,
                "tokenizer": config.tokenizer_path,
            },
        )


if __name__ == "__main__":
    sys.exit(run_script(main))
