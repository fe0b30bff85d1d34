# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from fractions import Fraction

import pytest

from areal.reward.answers import final_answer, normalized, parse_number
from areal.reward.python_program import last_program, passes


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so \\boxed{\\frac{1}{2}} it is", "\\frac{1}{2}"),
        ("\\boxed{1} or \\boxed{2}", "2"),
        ("12+3=15\n#### 15<|im_end|>", "15"),
        ("#### 15\nand more", "15"),
        ("\\boxed{1}\n#### 2", "2"),
        ("#### 2\n\\boxed{1}", "1"),
        ("#### 2\n\\boxed{1", "2"),
        ("\\boxed{ open", "\\boxed{ open"),
        (" plain <|im_end|>\n<|endoftext|> ", "plain"),
        ("a < b > c", "a < b > c"),
        ("", ""),
    ],
)
def test_final_answer_is_the_last_marked_one(text: str, answer: str) -> None:
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,234", Fraction(1234)),
        ("$3.50", Fraction(7, 2)),
        ("50%", Fraction(50)),
        ("-1e3", Fraction(-1000)),
        ("1/3", Fraction(1, 3)),
        ("-\\dfrac{1}{3}", Fraction(-1, 3)),
        ("−7.", Fraction(-7)),
        ("5.", Fraction(5)),
        (".5", Fraction(1, 2)),
        ("1,23", None),
        ("1/0", None),
        ("\\frac{1}{0}", None),
        ("7 apples", None),
        ("1e9999", None),
        ("9" * 81, None),
        ("", None),
    ],
)
def test_parse_number_exact_or_nothing(text: str, number: Fraction | None) -> None:
    assert parse_number(text) == number


def test_normalized_case_width_and_spaces_do_not_count() -> None:
    assert normalized(" Ｎew   YORK. ") == "new york"


def test_last_program_open_fence_and_plain_text() -> None:
    assert last_program("```python\na\n```\n```py\nb") == "b" and last_program("a = 1") == "a = 1"


@pytest.mark.parametrize(
    ("program", "tests", "passed"),
    [
        ("x = 1", "assert x == 1", True),
        ("x = 1", "assert x == 2", False),
        ("import os; os._exit(0)", "assert False", False),
        ("y = bytearray(3 << 30)", "", False),
        ("open('f', 'wb').write(bytes(2 << 20))", "", False),
        ("x = '\0'", "", False),
    ],
)
def test_passes_only_what_runs_to_the_end_within_limits(program: str, tests: str, passed: bool) -> None:
    assert passes(program, tests) is passed


def test_passes_endless_program_is_ended() -> None:
    assert not passes("while True: pass", "", timeout_s=0.3)
