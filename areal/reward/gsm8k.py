# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Reward of GSM8K and of any dataset whose answers are numbers or formulas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def gsm8k_reward_fn(
    prompt: str | None,
    completions: str,
    prompt_ids: Sequence[int] | None,
    completion_ids: Sequence[int] | None,
    answer: str,
    **item: Any,
) -> float:
    """1.0 when the answer in the whole completion equals the one in `answer` (the dataset's text, ending in `#### N`)."""
    from areal.reward.math_verify_worker import get_math_verify_worker  # imports sympy: 1 s, once a worker

    return get_math_verify_worker().verify(completions, answer)
