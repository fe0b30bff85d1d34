# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Reward of the generated arithmetic task: strict about the form, so that there is one way to be right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_MARKED = re.compile(r"#### (-?\d+)")
_FINAL = re.compile(r"#### (-?\d+)\s*(?:<[^<>\s]+>)?\s*\Z")
"""The answer at the end of the text, perhaps followed by the eos token's own text."""


def arithmetic_reward_fn(
    prompt: str | None,
    completions: str,
    prompt_ids: Sequence[int] | None,
    completion_ids: Sequence[int],
    answer: str,
    eos_token_id: int,
    **item: Any,
) -> float:
    """1.0 when exactly one `#### N` stands in the completion, at its end, with the right N, and eos was reached; else 0.0.

    eos is judged by the last id of `completion_ids` (the dataset's items carry `eos_token_id`): a completion cut off by the
    length limit earns nothing.
    """
    gold = _FINAL.search(answer)
    if gold is None:
        raise ValueError(f"expected a reference answer ending in '#### N', got {answer[-80:]!r}")
    final = _FINAL.search(completions)
    ended = len(completion_ids) > 0 and completion_ids[-1] == eos_token_id
    single = len(_MARKED.findall(completions)) == 1
    return float(ended and single and final is not None and int(final[1]) == int(gold[1]))
