# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from areal.harness.scaffold.texts import limit_texts, matching
from areal.harness.scaffold.values import Untestable, pool, source_of
from tests.harness.skills.conftest import ROOT

MODULE = '''import os
from fractions import Fraction
LIMIT = 12


def grade(score: int, names: list[str]) -> str:
    """Doc."""
    if score < 0:
        raise ValueError("negative")
    return "high" if score > LIMIT else names[0] if names else "low"


def half(value: int) -> Fraction:
    return Fraction(value, 2)


def remove(path: str) -> None:
    os.remove(path)


def odd(thing: object, other: "complex") -> int:
    return 1


def endless(count: int) -> int:
    while count > 3:
        pass
    return count
'''


@pytest.fixture
def box(tmp_path: Path) -> Path:
    (tmp_path / "box").mkdir()
    (tmp_path / "box/__init__.py").write_text("")
    (tmp_path / "box/grading.py").write_text(MODULE)
    return tmp_path


def run(box: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": f"{box}:{ROOT}", "PATH": ""}
    return subprocess.run([sys.executable, "-m", *words], cwd=box, env=environment, capture_output=True, text=True)


def test_unit_tests_pass_can_fail_and_touch_nothing(box: Path) -> None:
    writer = ("areal.harness.scaffold.unit_tests", "--target", "box.grading", "--to", "tests/test_grading_table.py")
    done = run(box, *writer)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left out remove: it reaches out of the process (os)" in done.stdout
    assert "left out odd: no values are known for the type complex" in done.stdout
    killed, total = map(int, re.search(r"(\d+) of (\d+) mutants killed", done.stdout).groups())  # type: ignore[union-attr]
    assert killed >= 0.9 * total, done.stdout
    tests = "tests/test_grading_table.py"
    assert run(box, "pytest", "-q", tests).returncode == 0
    text = (box / tests).read_text()
    assert "test_grade_table" in text and "test_grade_refuses" in text and "Fraction(1, 2)" in text
    (box / "box/grading.py").write_text(MODULE.replace("score > LIMIT", "score >= LIMIT"))
    assert run(box, "pytest", "-q", tests).returncode == 1


def test_unit_tests_without_anything_to_test_is_an_error(box: Path) -> None:
    done = run(box, "areal.harness.scaffold.unit_tests", "--target", "box.grading:remove", "--to", "tests/test_x.py")
    assert done.returncode == 1 and "can be tested by its types" in done.stderr and not (box / "tests").exists()


@pytest.mark.parametrize(
    "pattern", [r"#### (-?\d+)", r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)", r"(a)\1[^x]\w{2,3}", r"<[^<>\s]{1,64}>\s*"]
)
def test_matching_texts_match(pattern: str) -> None:
    texts = matching([pattern])
    assert len(texts) == 4 and all(re.fullmatch(pattern, text) for text in texts) and texts == matching([pattern])


def test_limit_texts_are_at_the_limit_and_one_over() -> None:
    assert [len(text) for text in limit_texts([30, 3, 10**6])] == [30, 31, 30, 31]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object(), "x" * 400])
def test_source_of_gives_no_text_that_would_not_come_back(value: object) -> None:
    assert source_of(value) is None


def test_pool_unknown_type_says_so() -> None:
    with pytest.raises(Untestable, match="no values are known for the type complex"):
        pool(complex, {str: [], int: [], float: []})
