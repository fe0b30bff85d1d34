# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Verifiable rewards: functions `fn(prompt, completions, prompt_ids, completion_ids, **item) -> float`, free of torch."""

from areal.utils.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "REWARDS": "areal.reward.registry",
        "get_reward_fn": "areal.reward.registry",
        "MathVerifyWorker": "areal.reward.math_verify_worker",
        "get_math_verify_worker": "areal.reward.math_verify_worker",
        "gsm8k_reward_fn": "areal.reward.gsm8k",
        "arithmetic_reward_fn": "areal.reward.arithmetic",
    },
)
