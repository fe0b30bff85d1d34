# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from areal.reward.arithmetic import arithmetic_reward_fn
from areal.reward.registry import REWARDS, get_reward_fn
from areal.utils.errors import ConfigError


@pytest.mark.parametrize("name", sorted(REWARDS))
def test_get_reward_fn_every_registered_name_is_a_function(name: str) -> None:
    assert callable(get_reward_fn(name))


@pytest.mark.parametrize("reward", ["arithmetic", "areal.reward.arithmetic.arithmetic_reward_fn", arithmetic_reward_fn])
def test_get_reward_fn_name_path_and_function_are_the_same(reward: object) -> None:
    assert get_reward_fn(reward) is arithmetic_reward_fn  # type: ignore[arg-type]


def test_get_reward_fn_unknown_name_says_what_there_is() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'arithmetic'"):
        get_reward_fn("arithmetics")
    with pytest.raises(ConfigError, match=r"Registered: .*gsm8k"):
        get_reward_fn("zzz")
