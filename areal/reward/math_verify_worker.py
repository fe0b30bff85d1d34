# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Mathematical equality of an answer in free text with a reference answer, by the math-verify library.

Called by reward functions, inside a worker of `AsyncRewardWrapper`. There is no timeout here: the library's needs the main
thread, and a thread cannot be killed; the wrapper's deadline kills the process.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

# The library warns, in every process, that its timeouts are off; here they are off on purpose.
for _name in ("math_verify.parser", "math_verify.grader"):
    logging.getLogger(_name).setLevel(logging.ERROR)


class MathVerifyWorker:
    """Compares responses with reference answers; numbers are rounded to `precision` decimals.

    `try_extract_without_anchor` also takes numbers that no "the answer is" or box announces.
    """

    def __init__(self, try_extract_without_anchor: bool = True, precision: int = 6) -> None:
        self.precision = precision
        self._targets = (
            ExprExtractionConfig(try_extract_without_anchor=try_extract_without_anchor),
            LatexExtractionConfig(),
        )

    def verify(self, response: str, ground_truth: str) -> float:
        """1.0 when the answer found in `response` equals that in `ground_truth`, else 0.0 (also when none is found).

        `ValueError` when no answer is found in `ground_truth`: the dataset is at fault, not the policy.
        """
        gold = self._parse(ground_truth)
        if not gold:
            raise ValueError(f"expected a number or formula in the reference answer, got {ground_truth[:200]!r}")
        answer = self._parse(response)
        return float(bool(answer) and verify(gold, answer, float_rounding=self.precision, timeout_seconds=None))

    def _parse(self, text: str) -> Sequence[object]:
        return parse(text, self._targets, parsing_timeout=None)


@lru_cache(maxsize=1)
def get_math_verify_worker() -> MathVerifyWorker:
    """The worker of this process, made at first use."""
    return MathVerifyWorker()
