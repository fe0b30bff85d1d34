# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Rewards of the tiny runs; in a module of their own because reward processes must import them without torch."""

from __future__ import annotations

import zlib
from typing import Any


def hashed_reward(prompt: str, completion: str, prompt_ids: list[int], completion_ids: list[int], **data: Any) -> float:
    """A number in [0, 1) that depends on every token, so that an untrained model gets gradients that differ by sample."""
    return zlib.crc32(str(completion_ids).encode()) % 1000 / 1000


def raising_reward(
    prompt: str, completion: str, prompt_ids: list[int], completion_ids: list[int], **data: Any
) -> float:
    """A user's mistake."""
    raise KeyError("the column 'solution' is missing")
