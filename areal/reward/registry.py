# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Rewards by name, as configurations and workflows name them. Must never import a reward before it is asked for."""

from __future__ import annotations

from areal.api.config.fields import suggestion
from areal.api.reward_api import RewardFn
from areal.utils.dynamic_import import import_from_string
from areal.utils.errors import ConfigError

REWARDS: dict[str, str] = {
    "arithmetic": "areal.reward.arithmetic.arithmetic_reward_fn",
    "gsm8k": "areal.reward.gsm8k.gsm8k_reward_fn",
}
"""Name -> where the function is."""


def get_reward_fn(reward: RewardFn | str) -> RewardFn:
    """The reward function of a registered name or of a dotted path; a function is returned as it is.

    Raises `ConfigError` for a name that nothing is registered under, and for a path that does not import.
    """
    if not isinstance(reward, str):
        return reward
    if reward in REWARDS:
        return import_from_string(REWARDS[reward])
    if "." not in reward and ":" not in reward:
        hint = suggestion(reward, REWARDS) or f" Registered: {', '.join(sorted(REWARDS))}."
        raise ConfigError(f"no reward is registered as {reward!r}.{hint} A dotted path works too.")
    return import_from_string(reward)
