# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal doctor`: each row tells the truth about what it looks at, and a bad one names the command that mends it."""

import json
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from areal.cli.doctor import main
from areal.harness.doctor import machine, packages
from areal.harness.doctor.rows import Row, State, table

PROBE = {"version": "2.13", "cuda": "12.8", "devices": 2, "names": ["a", "a"], "gloo": True, "nccl": True}
Usage = namedtuple("Usage", "total used free")


def test_command_reports_rows_and_commands(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = main(["--json", "--skip-torch", "--fileroot", str(tmp_path)])
    report = json.loads(capsys.readouterr().out)

    bad = [row for row in report["rows"] if row["state"] == "bad"]
    assert code == report["exit"] == (1 if bad else 0)
    assert {row["topic"] for row in report["rows"]} >= {"python", "packages", "disk", "ports", "programs"}
    assert [row for row in report["rows"] if row["state"] in ("bad", "warn") and not row["mend"]] == []


@pytest.mark.parametrize(
    ("version", "is_core", "state"),
    [("5.10", True, State.OK), ("4.0", True, State.BAD), (None, True, State.BAD), ("4.0", False, State.WARN)],
)
def test_requirement_is_compared_with_what_is_installed(version: str | None, is_core: bool, state: State) -> None:
    row = packages._requirement_row(Requirement("transformers>=5.10,<6"), version, is_core)

    assert row.state is state
    assert "pip install 'transformers" in row.mend or state is State.OK


def test_contract_with_another_pin_asks_for_an_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checklists").mkdir()
    (tmp_path / "checklists" / "x.yaml").write_text("package: x\n")
    monkeypatch.setattr(packages, "locked_versions", lambda root, package: {"vllm": "1.0"})
    monkeypatch.setattr(packages, "installed", {"x": "1.1"}.get)

    (row,) = packages.contract_rows(tmp_path)

    assert (row.state, row.mend) == (State.WARN, "areal api audit x==1.1")
    monkeypatch.setattr(packages, "installed", {"x": "1.0+cpu"}.get)
    assert [row.state for row in packages.contract_rows(tmp_path)] == [State.OK]


@pytest.mark.parametrize(
    ("change", "cards", "states"),
    [
        ({}, 2, [State.OK, State.OK]),
        ({"devices": 1}, 2, [State.WARN, State.OK]),
        ({"nccl": False}, 2, [State.OK, State.BAD]),
        ({"cuda": None, "devices": 0, "gloo": False}, 0, [State.OK, State.BAD]),
    ],
)
def test_torch_probe_is_judged(change: dict, cards: int, states: list[State]) -> None:
    assert [row.state for row in machine.torch_rows(PROBE | change, cards, "reinstall")] == states


def test_torch_that_hangs_or_fails_is_bad_and_does_not_hang_the_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "TORCH_PROBE", "import time; time.sleep(60)")

    rows = {row.name: row for row in machine.device_rows(deadline_s=0.3)}

    assert rows["torch"].state is State.BAD
    assert sys.executable in rows["torch"].mend


def test_full_disk_and_read_only_folder_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: Usage(10, 10, 2 * machine.GIB))
    assert {row.name: row.state for row in machine.disk_rows(tmp_path / "new" / "run")}["runs"] is State.WARN

    monkeypatch.setattr(machine.os, "access", lambda path, mode: False)
    assert {row.state for row in machine.disk_rows(tmp_path)} == {State.BAD}


def test_table_aligns_columns_and_shows_commands_of_rows_that_need_one() -> None:
    rows = [Row("a", "b", State.OK, "fine", "never"), Row("long", "name", State.BAD, "broken", "mend it")]

    assert table(rows) == "ok   a     b     fine\nbad  long  name  broken\n     run: mend it"


def test_program_beside_python_counts_although_it_is_not_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uv").write_text("")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", "")
    rows = {row.name: row for row in machine.program_rows()}
    assert (rows["uv"].state, rows["uv"].found) == (State.OK, str(tmp_path / "uv"))
    assert rows["git"].state is State.WARN
