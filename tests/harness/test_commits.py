# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Scopes, commit messages and drafted pull requests."""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from areal.cli import commit_msg, pr
from areal.harness.commits.message import check_message, clean, infer
from areal.harness.commits.scopes import load_scopes
from areal.harness.core.tree import Tree
from tests.harness.git_tree import FILES, ROOT, commit, git, make_tree, write

SCOPES = load_scopes(ROOT)
TRACKED = [name for name in Tree(ROOT).files if SCOPES.of_file(name)]
NATIVE = {"areal/engine/native/server.py": 30, "tests/engine/native/test_server.py": 200}


def test_every_tracked_file_has_exactly_one_scope() -> None:
    assert [name for name in Tree(ROOT).files if SCOPES.of_file(name) is None] == []


def test_every_scope_is_reached_by_a_file_or_waits_for_a_folder() -> None:
    waiting = {"deps", "checklists", "skills", "ci"}
    used = {SCOPES.of_file(name) for name in TRACKED}

    assert set(SCOPES.globs) - used <= waiting


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(TRACKED), st.integers(0, 500), min_size=1, max_size=12))
def test_scope_of_a_change_is_a_function_of_its_files(lines: dict[str, int]) -> None:
    scope = SCOPES.of_change(lines)

    assert scope == SCOPES.of_change(dict(reversed(lines.items())))
    assert scope is None or SCOPES.accepts(scope, lines)
    assert list(check_message(f"{infer(SCOPES, lines).header}say what it does", SCOPES, lines)) == []


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(TRACKED), st.sampled_from(TRACKED))
def test_moving_a_file_changes_one_answer_only(path: str, other: str) -> None:
    moved = f"{other.rpartition('/')[0]}/moved_{path.rpartition('/')[2]}".lstrip("/")
    before = {name: SCOPES.of_file(name) for name in TRACKED}

    SCOPES.of_file(moved)

    assert {name: SCOPES.of_file(name) for name in TRACKED} == before


@pytest.mark.parametrize(
    ("lines", "header"),
    [
        (NATIVE, "fix(native): "),
        ({"areal/engine/native/a.py": 10, "areal/engine/fsdp_engine.py": 10}, "fix(engine): "),
        ({"areal/engine/native/a.py": 10, "areal/infra/a.py": 10}, "fix: "),
        ({"docs/en/a.md": 5, "tests/test_docs.py": 3}, "docs: "),
        ({"tests/infra/test_a.py": 5}, "test(infra): "),
        ({".ci/run": 2}, "ci: "),
        ({"pyproject.toml": 2}, "build(deps): "),
    ],
)
def test_header_is_inferred(lines: Mapping[str, int], header: str) -> None:
    assert infer(SCOPES, lines).header == header


def test_added_file_of_the_package_is_a_feature() -> None:
    assert infer(SCOPES, NATIVE, frozenset(NATIVE)).header == "feat(native): "


@pytest.mark.parametrize(
    ("message", "codes"),
    [
        ("fix(native): free the cache of aborted requests\n\nBody.", set()),
        ("fix(engine): accept the parent scope", set()),
        ("fix: leave the scope out", set()),
        ("Merge branch 'x'", set()),
        ("fixup! anything", set()),
        ("# only a comment\n", {"C001"}),
        ("Free the cache", {"C001"}),
        ("fix(native):missing space", {"C001"}),
        ("feature(native): add", {"C002"}),
        ("Fix(native): free", {"C002"}),
        ("fix(foo): free", {"C003"}),
        ("fix(docs): free", {"C003"}),
        ("fix(native): freed.", {"C004"}),
        ("fix(native): added a thing", {"C004"}),
        ("fix(native): " + "x" * 100, {"C004"}),
        ("fix(native): free\nat once", {"C005"}),
        ("feat(native)!: drop the route", {"C006"}),
        ("feat(native)!: drop the route\n\nBREAKING CHANGE: use /generate", set()),
    ],
)
def test_message_is_checked(message: str, codes: set[str]) -> None:
    found = list(check_message(message, SCOPES, NATIVE))

    assert {finding.code for finding in found} == codes
    assert all(finding.hint for finding in found)


def test_unknown_scope_is_answered_with_the_right_one() -> None:
    (finding,) = check_message("fix(foo): free", SCOPES, NATIVE)

    assert finding.hint == "for these files use: native"


def test_comments_and_the_diff_below_the_scissors_are_no_message() -> None:
    text = "fix: a\n# hint\n\nbody\n# ------------------------ >8 ------------------------\ndiff --git\n"

    assert clean(text) == "fix: a\n\nbody"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    template = {".github/PULL_REQUEST_TEMPLATE.md": (ROOT / ".github/PULL_REQUEST_TEMPLATE.md").read_text()}
    ignored = {".gitignore": "/build/\n"}
    root = (
        make_tree(tmp_path / "tree", {**FILES, **template, **ignored})
        if (tmp_path / "tree").mkdir() is None
        else tmp_path
    )
    monkeypatch.chdir(root)
    return root


def run(command: object, capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict]:
    code = command.main([*argv, "--json"])  # type: ignore[attr-defined]
    return code, json.loads(capsys.readouterr().out)


def test_commit_msg_command_infers_and_checks(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(commit_msg, capsys, "--infer")[1]["error"]["code"] == "nothing_staged"
    write(tree, {"areal/reward/new.py": '"""New."""\n'})
    git(tree, "add", "-A")

    report = run(commit_msg, capsys, "--infer")[1]
    assert report["header"] == "feat(reward): " and not report["next"]
    (tree / "message").write_text("feat(foo): add\n")
    code, report = run(commit_msg, capsys, "message")
    assert (code, report["findings"][0]["code"]) == (1, "C003")
    (tree / "message").write_text("Add a reward\n")
    assert run(commit_msg, capsys, "message")[1]["findings"][0]["hint"] == "begin with 'feat(reward): '"
    (tree / "message").write_text("feat(reward): add a reward\n")
    started = time.process_time()
    assert run(commit_msg, capsys, "message")[0] == 0
    assert time.process_time() - started < 0.2
    assert run(commit_msg, capsys, "nowhere")[0] == 2


def test_commit_msg_infer_names_several_scopes_but_no_copies(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = "<!-- GENERATED from .agents/x source:0 -->\n" + "copied\n" * 20
    write(tree, {"areal/reward/new.py": '"""New."""\n' * 9, ".claude/agents/x.md": copy})
    git(tree, "add", "-A")
    assert run(commit_msg, capsys, "--infer")[1]["next"] == []

    write(tree, {"areal/dataset/new.py": '"""New."""\n'})
    git(tree, "add", "-A")
    (advice,) = run(commit_msg, capsys, "--infer")[1]["next"]
    assert "dataset (1 lines), reward (9 lines)" in advice and "git restore --staged FILES" in advice


def test_pull_request_is_drafted_without_gh_and_changes_nothing(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tree, "switch", "-q", "-c", "topic")
    write(tree, {"areal/engine/core.py": FILES["areal/engine/core.py"] + "\n\nLIMIT = 3\n"})
    commit(tree, "feat(engine): add a limit\n\nBecause there was none.")
    before = git(tree, "status", "--porcelain"), git(tree, "for-each-ref")

    code, report = run(pr, capsys)

    assert code == 0
    assert report["title"] == "feat(engine): add a limit"
    assert "- feat(engine): add a limit\n\nBecause there was none." in report["body"]
    assert "- [x] Feature" in report["body"]
    assert not re.search(r"<!-- (?:summary|tests|review) -->", report["body"])
    assert report["commands"][0] == "git push --set-upstream origin topic"
    assert report["commands"][1].endswith("--body-file build/pull-request.md")
    assert (tree / "build/pull-request.md").read_text() == report["body"] + "\n"
    assert (git(tree, "status", "--porcelain"), git(tree, "for-each-ref")) == before
    real = Path("/usr/bin/git") if Path("/usr/bin/git").exists() else None
    if real is not None:
        (tree / ".git" / "bin").mkdir()
        (tree / ".git" / "bin" / "git").symlink_to(real)
        monkeypatch.setenv("PATH", str(tree / ".git" / "bin"))
        code, report = run(pr, capsys, "--open")
        assert (code, report["error"]["code"]) == (3, "no_gh")


def test_pull_request_with_several_commits_reports_bad_messages(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git(tree, "switch", "-q", "-c", "topic")
    for number, message in enumerate(("fix(engine): bound the step", "Stuff")):
        write(tree, {"areal/engine/core.py": FILES["areal/engine/core.py"] + f"\n\nLIMIT = {number}\n"})
        commit(tree, message)

    code, report = run(pr, capsys)

    assert code == 0  # messages are warnings: a squash merge uses the title
    assert report["title"] == "fix(engine): bound the step"
    assert [finding["code"] for finding in report["findings"]] == ["C001"]


def test_branches_that_cannot_be_proposed_have_their_own_messages(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(pr, capsys)[1]["error"]["code"] == "on_main"
    git(tree, "switch", "-q", "-c", "topic")
    assert run(pr, capsys)[1]["error"]["code"] == "nothing_to_propose"
    write(tree, {"README.md": "# other\n"})
    code, report = run(pr, capsys)
    assert (code, report["error"]["code"], report["error"]["files"]) == (2, "dirty_tree", ["README.md"])
    git(tree, "checkout", "-q", "-f", "--detach")
    assert run(pr, capsys)[1]["error"]["code"] == "detached_head"


def test_owners_name_paths_that_exist_and_experts_that_exist() -> None:
    lines = [
        line.split() for line in (ROOT / ".github/CODEOWNERS").read_text().splitlines() if line[:1] not in ("#", "")
    ]

    assert [path for path, _ in lines if path != "*" and not (ROOT / path.strip("/")).exists()] in (
        [],
        ["/checklists/"],
    )
    experts = {path.stem for path in (ROOT / ".agents/experts").glob("*.md")} | {"maintainers", "harness"}
    assert [owner for _, owner in lines if owner.removeprefix("@areal/") not in experts] == []
