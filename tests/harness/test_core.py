# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What every harness command shares: the envelope, exit codes, documents with their schema, globs over the tree."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from areal.cli.envelope import run_reported
from areal.harness.core.documents import parse_yaml, read_markdown, read_yaml, violations
from areal.harness.core.errors import DecisionNeeded, Exit, MissingTool, UsageProblem
from areal.harness.core.findings import Finding, Fix, Report
from areal.harness.core.tree import Tree, find_root, translate_glob

ROOT = Path(__file__).resolve().parents[2]


def test_report_with_an_error_finding_exits_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    def work(report: Report) -> None:
        report.add(
            [Finding(code="H020", message="gone", file="a.md", line=3, fix=Fix(kind="replace", old="x", new="y"))]
        )

    code = run_reported(Report(tool="areal t"), work, as_json=True)

    envelope = json.loads(capsys.readouterr().out)
    assert code == envelope["exit"] == 1
    assert not envelope["ok"]
    assert envelope["findings"][0]["fix"] == {"kind": "replace", "old": "x", "new": "y"}


@pytest.mark.parametrize(("error", "code"), [(UsageProblem("u"), 2), (MissingTool("m"), 3), (DecisionNeeded("d"), 4)])
def test_harness_error_becomes_its_exit_code(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def work(report: Report) -> None:
        raise error

    assert run_reported(Report(tool="areal t"), work, as_json=True) == code
    assert json.loads(capsys.readouterr().out)["error"]["message"] == str(error)


def test_bug_exits_with_five_and_names_the_file_with_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def work(report: Report) -> None:
        raise KeyError("nobody expected this")

    assert run_reported(Report(tool="areal t"), work, as_json=True) == Exit.INTERNAL
    traceback = Path(json.loads(capsys.readouterr().out)["error"]["traceback"])
    assert "nobody expected this" in traceback.read_text()
    traceback.unlink()


def test_findings_sort_by_severity_file_and_line(capsys: pytest.CaptureFixture[str]) -> None:
    findings = [
        Finding(code="A", message="m", severity="note", file="a", line=1),
        Finding(code="B", message="m", file="b", line=9),
        Finding(code="C", message="m", file="b", line=2),
    ]
    run_reported(Report(tool="t", findings=findings), lambda report: None, as_json=True)
    assert [finding["code"] for finding in json.loads(capsys.readouterr().out)["findings"]] == ["C", "B", "A"]


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(DecisionNeeded("which?", code="X", choices=["a", "b"])))
    assert (error.message, error.code, error.details) == ("which?", "X", {"choices": ["a", "b"]})


@pytest.mark.parametrize(
    ("text", "line"), [("a: 1\nb: [\n", 3), ("a: 1\na: 2\n", 2), ("a: b: c\n", 1), ("\tx: 1\n", 1)], ids=str
)
def test_broken_yaml_is_a_message_with_file_and_line(text: str, line: int) -> None:
    with pytest.raises(UsageProblem) as caught:
        parse_yaml(text, Path("x.yaml"))
    assert caught.value.message.startswith(f"x.yaml:{line}:")


def test_schema_violation_names_the_line_of_the_value(tmp_path: Path) -> None:
    schemas = tmp_path / ".agents" / "schemas"
    schemas.mkdir(parents=True)
    (schemas / "t.schema.json").write_text('{"type": "object", "properties": {"a": {"items": {"type": "integer"}}}}')
    (tmp_path / "x.yaml").write_text("b: 1\na:\n  - 1\n  - two\n")
    (tmp_path / "x.md").write_text("---\na:\n- two\n---\nbody\n")

    (in_yaml,) = violations(tmp_path, read_yaml(tmp_path, Path("x.yaml")), "t")
    (in_markdown,) = violations(tmp_path, read_markdown(tmp_path, Path("x.md")), "t")

    assert (in_yaml.code, in_yaml.line) == ("H010", 4)
    assert in_markdown.line == 3


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("areal/*.py", "areal/a.py", True),
        ("areal/*.py", "areal/b/a.py", False),
        ("areal/**/*.py", "areal/a.py", True),
        ("areal/**/*.py", "areal/b/c/a.py", True),
        ("areal/**", "areal/b/c.yaml", True),
        ("areal/{a,b}.py", "areal/b.py", True),
        ("areal/[ab].py", "areal/c.py", False),
        ("**/a+b.py", "x/a+b.py", True),
    ],
)
def test_globs(pattern: str, path: str, matches: bool) -> None:
    assert bool(translate_glob(pattern).match(path)) is matches


def test_tree_lists_what_git_tracks_and_everything_without_git(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('"""Says it. And more."""\n')
    (tmp_path / "b.py").write_text("")
    assert Tree(tmp_path).files == ("a.py", "b.py")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "add", "a.py"], check=True)
    tree = Tree(tmp_path)
    assert tree.files == ("a.py",)
    assert tree.exists("b.py")
    assert not tree.exists("c.py")
    assert tree.summary("a.py") == "Says it"


def test_outside_a_checkout_is_a_usage_problem(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="not inside a checkout"):
        find_root(tmp_path)


def test_harness_imports_no_torch() -> None:
    code = "import areal.harness.core.documents, areal.harness.core.tree, areal.cli.envelope, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"
