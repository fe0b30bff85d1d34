# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Trainers own the step loop; the algorithm families live in `trainer/ppo` and `trainer/sft`."""

from areal.utils.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {"PPOTrainer": "areal.trainer.rl_trainer", "SFTTrainer": "areal.trainer.sft_trainer"},
)
