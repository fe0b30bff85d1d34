# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal review`: each check finds its fault and is silent about what looks alike; domains, risk, passes, bad repositories."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from areal.cli.review import main
from areal.harness.core.documents import read_yaml
from areal.harness.core.tree import Tree
from areal.harness.review.analysis import CHECKS, Review, review_change
from areal.harness.review.change import read_change
from areal.harness.review.domains import dead_globs, load_domains, uncovered
from areal.harness.review.markdown import render
from areal.harness.review.repository import open_repository
from tests.harness.git_tree import FILES, ROOT, commit, git, make_tree, write
from tests.harness.review_cases import ALSO_CLEAN, ALSO_FAULTY, CLEAN, FAULTY
from tests.harness.review_more_cases import IN_OTHER_WORDS, LOOKS_ALIKE


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("review"))


@pytest.fixture
def tree(repository: Path) -> Iterator[Path]:
    """The shared repository, brought back afterwards."""
    yield repository
    git(repository, "checkout", "-q", "-f", "main")
    git(repository, "clean", "-q", "-d", "-f", "-x")


def review(root: Path, files: Mapping[str, str | bytes | None]) -> Review:
    git(root, "checkout", "-q", "--detach", "main")
    write(root, files)
    commit(root)
    return review_change(read_change(open_repository(root), "main", "HEAD"), root)


@pytest.mark.parametrize(
    ("code", "files"),
    [pytest.param(code, files, id=code) for code, files in FAULTY.items()]
    + [pytest.param(code, files, id=f"{code}-{name}") for code, name, files in ALSO_FAULTY]
    + [pytest.param(code, files, id=f"{code}-{index}") for index, (code, files) in enumerate(IN_OTHER_WORDS)],
)
def test_check_finds_its_fault_and_nothing_else(code: str, files: Mapping[str, str], tree: Path) -> None:
    found = review(tree, files).checks

    assert {finding.code for finding in found} == {code}
    assert all(finding.message and finding.file and (finding.hint or finding.fix) for finding in found)


@pytest.mark.parametrize(
    "files",
    [pytest.param(files, id=code) for code, files in CLEAN.items()]
    + [pytest.param(files, id=name) for name, files in ALSO_CLEAN]
    + [pytest.param(files, id=f"alike-{index}") for index, files in enumerate(LOOKS_ALIKE)],
)
def test_clean_change_has_no_finding(files: Mapping[str, str], tree: Path) -> None:
    assert [str(finding) for finding in review(tree, files).checks] == []


def test_every_check_has_a_faulty_and_a_clean_change() -> None:
    assert set(FAULTY) == set(CLEAN) == set(CHECKS)


def test_hundred_files_are_analysed_in_seconds(tree: Path) -> None:
    body = (ROOT / "areal/api/alloc_mode.py").read_text()
    git(tree, "checkout", "-q", "--detach", "main")
    write(tree, {f"areal/infra/m{number}.py": body for number in range(100)})
    commit(tree)

    started = time.process_time()  # the machine may be busy
    result = review_change(read_change(open_repository(tree), "main", "HEAD"), tree)

    assert time.process_time() - started < 15  # a runaway rule; the target of 3 s is benchmarks/harness.json's
    assert len(result.files) == 100


def test_every_file_of_the_package_has_a_domain_and_every_glob_matches() -> None:
    files = Tree(ROOT).files
    domains = load_domains(ROOT)

    assert uncovered(Tree(ROOT)) == []
    assert dead_globs(Tree(ROOT)) == []
    names = {domain.name for domain in domains}
    assert [link for domain in domains for link in domain.links if link not in names] == []
    assert [domain.expert for domain in domains if f".agents/experts/{domain.expert}.md" not in files] == []


def test_linked_grave_domains_are_critical_and_pages_are_low(tree: Path) -> None:
    both = {
        "areal/infra/weight_sync.py": "version = 1\n" * 5,
        "areal/engine/core.py": FILES["areal/engine/core.py"] + "y = 1\n",
    }
    assert review(tree, both).risk == "CRITICAL"

    assert review(tree, {"docs/en/page.md": "# Page\n\nOther.\n"}).risk == "LOW"


def test_renamed_file_keeps_its_history(tree: Path) -> None:
    renamed = review(tree, {"areal/engine/core.py": None, "areal/engine/heart.py": FILES["areal/engine/core.py"]})

    assert [(file.status, file.path) for file in renamed.files] == [("R", "areal/engine/heart.py")]


def test_markdown_report_names_passes_findings_and_tests(tree: Path) -> None:
    text = render(review(tree, FAULTY["R022"] | {"tests/engine/test_core.py": "def test_a():\n    assert 1\n"}))

    for expected in (
        "# CHANGE_ANALYSIS_REPORT",
        "risk: **",
        "### training_engine (",
        "fsdp",
        "R022",
        "tests/engine/test_core.py",
    ):
        assert expected in text


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict]:
    code = main([*argv, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_command_fails_only_when_told(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    review(tree, FAULTY["R022"])
    monkeypatch.chdir(tree)

    assert run(capsys)[0] == 0
    code, report = run(capsys, "--fail-on", "high")

    assert code == report["exit"] == 1
    assert report["findings"][0]["code"] == "R022"
    assert main(["--md", "--quick"]) == 0
    assert "# CHANGE_ANALYSIS_REPORT" in capsys.readouterr().out


def test_worktree_takes_uncommitted_files_in(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tree, {**FAULTY["R022"], **FAULTY["R023"]})
    monkeypatch.chdir(tree)

    without = run(capsys)[1]
    assert without["files"] == []
    assert without["uncommitted"] == ["areal/engine/core.py"]
    codes = {finding["code"] for finding in run(capsys, "--worktree")[1]["findings"]}
    assert codes == {"R022", "R023"}


@pytest.mark.parametrize(
    ("argv", "code", "error"),
    [(["--base", "nowhere"], 4, "unknown_revision"), (["--head", "-x"], 4, "unknown_revision")],
)
def test_unknown_revision_lists_branches(
    argv: list[str],
    code: int,
    error: str,
    tree: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tree)

    got, report = run(capsys, *[f"{argv[0]}={argv[1]}"])

    assert (got, report["error"]["code"], report["error"]["choices"]) == (code, error, ["main"])


def test_no_repository_no_git_no_commit_and_shallow_clones_have_their_own_codes(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "copy"
    bare.mkdir()
    write(bare, {"pyproject.toml": "", ".agents/domains.yaml": (ROOT / ".agents/domains.yaml").read_text()})
    monkeypatch.chdir(bare)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert run(capsys)[1]["error"]["code"] == "no_repository"
    git(bare, "init", "-q", "-b", "main")
    assert run(capsys)[1]["error"]["code"] == "no_commits"

    review(tree, FAULTY["R022"])
    git(tree, "branch", "-f", "topic")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", "--no-single-branch", f"file://{tree}", str(shallow))
    git(tree, "branch", "-D", "topic")
    monkeypatch.chdir(shallow)
    code, report = run(capsys, "--base", "origin/main", "--head", "origin/topic")
    assert (code, report["error"]["code"]) == (3, "shallow")
    assert "git fetch --unshallow" in report["next"]

    monkeypatch.setenv("PATH", "")
    code, report = run(capsys)
    assert (code, report["error"]["code"]) == (3, "no_git")


def test_broken_domains_file_is_named_with_its_line(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tree, {".agents/domains.yaml": "domains:\n  - domain: x\n"})
    load_domains.cache_clear()
    monkeypatch.chdir(tree)

    code, report = run(capsys, "--worktree")
    load_domains.cache_clear()

    assert code == 2
    assert ".agents/domains.yaml" in report["error"]["message"]
    assert read_yaml(ROOT, Path(".agents/domains.yaml"), "domains").data["domains"]


def test_review_commits_docs_and_doctor_import_without_torch_or_git() -> None:
    code = """
import importlib, pkgutil, sys
sys.modules["torch"] = sys.modules["git"] = None
import areal.harness
for name in ("review", "commits", "docs", "doctor"):
    package = importlib.import_module(f"areal.harness.{name}")
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert done.stderr == ""
