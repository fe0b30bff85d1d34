# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Runs are all or nothing: what is refused, what fails and what is undone leaves every byte as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from areal.cli.skill import main
from areal.harness.skills import journal, runner
from areal.harness.skills.definition import load_definition
from areal.harness.skills.problems import StepFailed
from areal.harness.skills.runner import run_skill
from areal.harness.skills.selftest import changed_files, chosen_skills, run_trials
from tests.harness.skills.conftest import tree_of


def call(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """One `areal skill ... --json`: its envelope, whose exit is the process's."""
    code = main([*words, "--json"])
    envelope = json.loads(capsys.readouterr().out)
    assert envelope["exit"] == code and envelope["ok"] == (code == 0)
    return envelope


@pytest.fixture
def here(repo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(repo)
    return repo


def test_run_writes_everything_and_undo_takes_it_back(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree_of(here)
    done = call(capsys, "run", "add-thing", "--set", "name=fine", "--set", "loud=no")
    assert done["created"] == ["pkg/fine.py", "tests/test_fine.py"] and done["edited"] == ["pkg/__init__.py"]
    assert (here / "pkg/fine.py").read_text() == "SIZE = 3\nLOUD = False\n"
    assert '"fine": "pkg.fine",' in (here / "pkg/__init__.py").read_text()
    assert call(capsys, "verify", "add-thing", "--set", "name=fine")["ok"]
    assert call(capsys, "undo", done["undo"])["undone"] and tree_of(here) == before
    assert not (here / "tests").exists()
    assert call(capsys, "undo", done["undo"])["error"]["code"] == "S050"


def test_run_twice_in_a_row_without_commit_then_undo_in_any_order(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree_of(here)
    tokens = [call(capsys, "run", "add-thing", "--set", f"name={name}")["undo"] for name in ("one", "two", "three")]
    for token in (tokens[1], tokens[0], tokens[2]):
        assert call(capsys, "undo", token)["ok"]
    assert tree_of(here) == before


def test_undo_without_token_tells_what_each_token_takes_back(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = call(capsys, "run", "add-thing", "--set", "name=x")["undo"]
    message = call(capsys, "undo")["error"]["message"]
    assert message == f"expected the token of the run to take back, got none; there are: {token} (add-thing: pkg/x.py)"


@pytest.mark.parametrize(
    ("words", "exit_code", "error"),
    [
        (["add-thin"], 4, "S001"),
        (["add-thing"], 2, "S003"),
        (["add-thing", "--set", "name=../x"], 2, "S004"),
        (["add-thing", "--set", "name=taken"], 2, "S004"),
        (["add-thing", "--set", "name=x", "--set", "size=10"], 2, "S004"),
        (["add-thing", "--set", "name=x", "--set", "name=y"], 2, "S005"),
        (["add-thing", "--set", "name=x", "--set", "colour=y"], 2, "S002"),
        (["add-thing", "--set", "name=first"], 3, "S010"),
        (["add-thing", "--set", "name=second"], 3, "S031"),
        (["add-thing", "--set", "name=x", "--set", "size=8"], 1, "S041"),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_run_refused_or_failed_changes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], exit_code: int, error: str, dry: bool
) -> None:
    (here / "pkg/first.py").write_text("mine\n")
    (here / "pkg/__init__.py").write_text('THINGS = {\n    "first": "pkg.first",\n    "second": "elsewhere",\n}\n')
    before = tree_of(here)
    if dry and error == "S041":
        exit_code = 0
    found = call(capsys, "run", *words, "--allow-dirty", *(["--dry-run"] if dry else []))
    assert found["exit"] == exit_code and (exit_code == 0 or found["error"]["code"] == error)
    assert found["next"] and tree_of(here) == before and not journal.tokens(here)


def test_run_failed_check_names_step_command_output_and_next_action(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = call(capsys, "run", "add-thing", "--set", "name=x", "--set", "size=9")["error"]
    assert error["step"] == "size" and error["command"].startswith("python -c") and error["command_exit"] == 1
    kept = call(capsys, "run", "add-thing", "--set", "name=x", "--set", "size=9", "--keep-failed")
    assert kept["exit"] == 10 and (here / "pkg/x.py").exists()
    assert kept["findings"][0]["code"] == "S041" and "areal skill verify add-thing --set name=x" in kept["next"][0]
    again = call(capsys, "verify", "add-thing", "--set", "name=x", "--set", "size=9")
    assert again["exit"] == 1 and again["next"][0].startswith("mend pkg/x.py, then: areal skill verify")


def test_run_dirty_registry_is_refused_unless_allowed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "# mine\n" + (here / "pkg/__init__.py").read_text()
    (here / "pkg/__init__.py").write_text(text)
    refused = call(capsys, "run", "add-thing", "--set", "name=x")
    assert (refused["exit"], refused["error"]["code"]) == (3, "S011") and "--allow-dirty" in refused["next"][0]
    done = call(capsys, "run", "add-thing", "--set", "name=x", "--allow-dirty")
    assert done["ok"] and "# mine" in (here / "pkg/__init__.py").read_text()


def test_undo_keeps_later_changes_elsewhere_and_refuses_changed_files(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = call(capsys, "run", "add-thing", "--set", "name=x")["undo"]
    registry = here / "pkg/__init__.py"
    registry.write_text("# later\n" + registry.read_text())
    (here / "pkg/x.py").write_text("SIZE = 4\n")
    before = tree_of(here)
    refused = call(capsys, "undo", token)
    assert (refused["exit"], refused["error"]["code"]) == (3, "S051") and tree_of(here) == before
    (here / "pkg/x.py").write_text("SIZE = 3\nLOUD = True\n")
    assert call(capsys, "undo", token)["ok"]
    assert registry.read_text() == '# later\nTHINGS = {\n    "first": "pkg.first",\n}\n'


def test_apply_that_breaks_half_way_leaves_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, write, calls = tree_of(here), journal._write, []

    def broken(path: Path, change: Any) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise OSError("disk full")
        write(path, change)

    monkeypatch.setattr(journal, "_write", broken)
    with pytest.raises(OSError, match="disk full"):
        run_skill(here, load_definition(here, "add-thing"), {"name": "x"})
    assert tree_of(here) == before and not journal.tokens(here)


def test_apply_killed_half_way_is_reported_and_undone(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree_of(here)
    token = call(capsys, "run", "add-thing", "--set", "name=x")["undo"]
    record = here / journal.FOLDER / f"{token}.json"
    record.write_text(record.read_text().replace('"done"', '"applying"'))
    (here / "tests/test_x.py").unlink()
    refused = call(capsys, "run", "add-thing", "--set", "name=y")
    assert (refused["exit"], refused["error"]["code"]) == (3, "S014") and refused["next"] == [
        f"areal skill undo {token}"
    ]
    assert call(capsys, "undo", token)["ok"] and tree_of(here) == before


def test_run_file_that_appears_meanwhile_is_not_overwritten(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = runner._work_in

    def interfere(*args: Any) -> None:
        work(*args)
        (here / "pkg/x.py").write_text("mine\n")

    monkeypatch.setattr(runner, "_work_in", interfere)
    with pytest.raises(runner.Conflict):
        run_skill(here, load_definition(here, "add-thing"), {"name": "x"})
    assert (here / "pkg/x.py").read_text() == "mine\n" and not (here / "tests").exists()


def test_run_broken_template_is_exit_5(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / ".agents/skills/add-thing/templates/thing.py.j2").write_text("{{ nothing }}")
    found = call(capsys, "run", "add-thing", "--set", "name=x")
    assert (found["exit"], found["error"]["code"]) == (5, "S020") and "thing.py.j2" in found["error"]["message"]


def test_run_link_out_of_the_tree_is_refused(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "outside").mkdir()
    (here / "tests").symlink_to(tmp_path / "outside")
    found = call(capsys, "run", "add-thing", "--set", "name=x")
    assert (found["exit"], found["error"]["code"]) == (3, "S013") and not list((tmp_path / "outside").iterdir())


def test_run_step_without_end_is_killed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = here / ".agents/skills/add-thing/skill.yaml"
    slow = 'python -c "import time; time.sleep(60)"'
    text = file.read_text().replace("python -m py_compile {changed_python}", slow)
    file.write_text(text.replace("timeout_s: 20", "timeout_s: 0.5", 1))
    found = call(capsys, "run", "add-thing", "--set", "name=x", "--allow-dirty")
    assert found["error"]["code"] == "S042" and found["seconds"] < 20


def test_run_missing_program_is_exit_3(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = here / ".agents/skills/add-thing/skill.yaml"
    file.write_text(file.read_text().replace("python -m py_compile", "no-such-program"))
    found = call(capsys, "run", "add-thing", "--set", "name=x")
    assert (found["exit"], found["error"]["code"]) == (3, "S043") and "make install" in found["next"][0]


def test_run_works_without_git(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    done = call(capsys, "run", "add-thing", "--set", "name=x")
    assert done["ok"] and (here / "pkg/x.py").exists()
    refused = call(capsys, "run", "add-thing", "--set", "name=y", "--worktree")
    assert refused["exit"] == 3 and refused["error"]["code"] == "S043"


def test_run_worktree_leaves_the_tree_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree_of(here)
    done = call(capsys, "run", "add-thing", "--set", "name=x", "--worktree")
    assert (Path(done["worktree"]) / "pkg/x.py").exists() and tree_of(here) == before


def test_selftest_passes_and_finds_a_template_that_rots(here: Path) -> None:
    skill = load_definition(here, "add-thing")
    assert [trial.problem for trial in run_trials(here, [skill])] == [""]
    (here / ".agents/skills/add-thing/templates/thing.py.j2").write_text("SIZE = = 1\n")
    (trial,) = run_trials(here, [load_definition(here, "add-thing")])
    assert not trial.passed and "compiles" in trial.problem


def test_selftest_changed_since_chooses_by_dependencies(here: Path) -> None:
    assert chosen_skills(here, [], "HEAD") == []
    (here / "other.txt").write_text("x")
    assert chosen_skills(here, [], "HEAD") == [] and changed_files(here, "HEAD") == ["other.txt"]
    (here / "pkg/new.py").write_text("x = 1\n")
    assert [skill.name for skill in chosen_skills(here, [], "HEAD")] == ["add-thing"]


def test_step_that_rewrites_in_verify_is_found(here: Path) -> None:
    file = here / ".agents/skills/add-thing/skill.yaml"
    rewrite = """python -c "open('pkg/{name}.py', 'a').write('#')\""""
    file.write_text(file.read_text().replace("python -m py_compile {changed_python}", rewrite))
    with pytest.raises(StepFailed, match=r"a check rewrote pkg/x\.py"):
        run_skill(here, load_definition(here, "add-thing"), {"name": "x"}, allow_dirty=True)


@pytest.fixture
def declare(here: Path) -> Callable[[str, str], None]:
    """Replaces a part of the declaration of the skill."""

    def replace(old: str, new: str) -> None:
        file = here / ".agents/skills/add-thing/skill.yaml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return replace


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("no column a\\nnext: areal archon list", "areal archon list"),
        ("no column a", "mend what the lines above name, then: areal skill run add-thing --set name=x"),
    ],
)
def test_run_failed_step_advises_what_its_command_said_and_no_files(
    here: Path, capsys: pytest.CaptureFixture[str], declare: Callable[[str, str], None], said: str, expected: str
) -> None:
    step = f"""{{id: study, run: 'python -c "import sys; print(\\"{said}\\"); sys.exit(1)"'}}"""
    declare("verify:\n", f"steps:\n  - {step}\nverify:\n")
    found = call(capsys, "run", "add-thing", "--set", "name=x")
    assert found["error"]["code"] == "S040" and found["next"] == [expected]


def test_verify_failed_check_with_a_step_of_its_id_says_to_run_that_step(
    here: Path, capsys: pytest.CaptureFixture[str], declare: Callable[[str, str], None]
) -> None:
    declare("verify:\n", 'steps:\n  - {id: compiles, run: "python -m py_compile pkg/{name}.py"}\nverify:\n')
    assert call(capsys, "run", "add-thing", "--set", "name=x")["ok"]
    (here / "pkg/x.py").write_text("SIZE = = 3\n")
    found = call(capsys, "verify", "add-thing", "--set", "name=x")
    assert found["next"] == ["python -m py_compile pkg/x.py, then: areal skill verify add-thing --set name=x"]


def test_verify_failed_check_names_the_place_in_the_files_of_the_skill(
    here: Path, capsys: pytest.CaptureFixture[str], declare: Callable[[str, str], None]
) -> None:
    assert call(capsys, "run", "add-thing", "--set", "name=x")["ok"]
    declare(
        '"import sys, pkg.{name} as m; sys.exit(m.SIZE > 7)"',
        "\"import sys; print('tests/test_{name}.py:1 tests/conftest.py:54'); sys.exit(1)\"",
    )
    found = call(capsys, "verify", "add-thing", "--set", "name=x")
    assert found["error"]["place"] == "tests/test_x.py:1" and found["next"][0].startswith(
        "mend tests/test_x.py:1, then:"
    )


def test_run_says_what_a_showing_step_printed_and_how_to_commit(
    here: Path, capsys: pytest.CaptureFixture[str], declare: Callable[[str, str], None]
) -> None:
    declare("verify:\n", "steps:\n  - {id: study, run: python -c 'print(41 + 1)', show: true}\nverify:\n")
    done = call(capsys, "run", "add-thing", "--set", "name=x")
    assert [step.get("tail") for step in done["steps"]] == ["42", None, None]
    commit = "git add pkg/x.py tests/test_x.py pkg/__init__.py && areal skill run commit-conventions"
    assert done["next"][0] == commit
    assert main(["run", "add-thing", "--set", "name=y"]) == 0
    assert "  | 42\npassed  compiles" in capsys.readouterr().out
