# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from areal.harness.scaffold import samples


def run(monkeypatch: pytest.MonkeyPatch, to: Path, *words: str) -> tuple[int, list[int]]:
    monkeypatch.setattr(sys, "argv", ["samples", "--to", str(to), *words])
    code = samples.main()
    files = [to / f"{split}.jsonl" for split in ("train", "test")]
    return code, [len(file.read_text().splitlines()) for file in files if file.exists()]


def test_made_rows_are_different_sums_with_their_results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run(monkeypatch, tmp_path / "x", "--columns", "q,a") == (0, [64, 16])
    rows = [json.loads(line) for line in (tmp_path / "x/train.jsonl").read_text().splitlines()]
    assert len({row["q"] for row in rows}) == 64
    for row in rows:
        left, right = row["a"].split("\n")[0].split("=")
        assert sum(map(int, left.split("+"))) == int(right) and row["a"].endswith(f"#### {right}")


def test_taken_rows_are_the_users_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = [{"q": f"{index}?", "a": str(index), "other": 1} for index in range(100)]
    source = tmp_path / "data.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(monkeypatch, tmp_path / "x", "--columns", "q,a", "--source", str(source)) == (0, [64, 16])
    assert json.loads((tmp_path / "x/test.jsonl").read_text().splitlines()[0]) == {"q": "64?", "a": "64"}


def test_taken_rows_wrong_columns_is_an_error_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "data.jsonl"
    source.write_text('{"question": "x"}\n')
    assert run(monkeypatch, tmp_path / "x", "--columns", "q,a", "--source", str(source)) == (1, [])
    assert "data.jsonl:1: expected text in column 'q'" in capsys.readouterr().err and not (tmp_path / "x").exists()
