# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Rewards for the tests of workflows. They run in processes of their own, so this module must import nothing heavy."""

from __future__ import annotations

import time
from typing import Any


def exact(
    prompt: str, completions: str, prompt_ids: list[int], completion_ids: list[int], answer: str, **item: Any
) -> float:
    """1.0 when the completion, but for its eos, is the answer."""
    assert prompt.endswith("<|im_start|>assistant\n") and "Tom" in prompt and prompt_ids and completion_ids
    return float(completions.removesuffix("<|im_end|>") == answer)


def slow(*args: Any, **item: Any) -> float:
    """Takes half a second."""
    time.sleep(0.5)
    return 1.0


def broken(*args: Any, **item: Any) -> float:
    """Fails as code that reads a column that is not there."""
    raise LookupError("no such column")
