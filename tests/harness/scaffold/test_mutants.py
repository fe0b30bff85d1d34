# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from areal.harness.scaffold.mutants import mutants
from tests.harness.skills.conftest import ROOT

SOURCE = '''"""Doc."""
import logging
LIMIT = 3


def clipped(value: int, low: int = 0) -> int:
    """Doc."""
    if value > LIMIT and not low:
        raise ValueError(f"too big: {value}")
    logging.warning("seen %d", value)
    return max(low, value - 1)
'''
GOOD = """import pytest
from box.clip import clipped
def test_table():
    assert [clipped(v) for v in (-1, 0, 1, 3)] == [0, 0, 0, 2] and clipped(5, 1) == 4
    with pytest.raises(ValueError):
        clipped(4)
"""


def test_mutants_change_behaviour_and_leave_texts_for_people_alone() -> None:
    found = mutants(SOURCE)
    assert {mutant.what for mutant in found} == {
        "3 -> 4",
        "0 -> 1",
        "Gt -> GtE",
        "And -> Or",
        "not x -> x",
        "condition negated",
        "condition never holds",
        "returns None",
        "Sub -> Add",
        "1 -> 2",
    }
    assert all(
        mutant.source != SOURCE and "too big" in mutant.source and "'seen %d'" in mutant.source for mutant in found
    )


def test_killing_tells_tests_that_can_fail_from_those_that_cannot(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    (tmp_path / "box/__init__.py").write_text("")
    (tmp_path / "box/clip.py").write_text(SOURCE)
    (tmp_path / "test_good.py").write_text(GOOD)
    (tmp_path / "test_bad.py").write_text("import box.clip\ndef test_nothing():\n    assert box.clip.clipped(5, 1)\n")
    shares = {}
    for name in ("good", "bad"):
        command = [sys.executable, "-m", "areal.harness.scaffold.killing", "box/clip.py", f"test_{name}.py"]
        done = subprocess.run(
            command, cwd=tmp_path, env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""}, capture_output=True, text=True
        )
        shares[name] = done.returncode
        assert '"total": 10' in done.stdout, done.stderr
    assert shares == {"good": 0, "bad": 1} and (tmp_path / "box/clip.py").read_text() == SOURCE
