# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Upgrades in a small repository, with a fake uv and wheels on disk: no network."""

import json
import subprocess
import zipfile

import pytest

from areal.cli import deps
from areal.harness.apiaudit.errors import SourcesUnavailable
from areal.harness.core.errors import MissingTool, UsageProblem
from areal.harness.deps import locking, upgrade
from areal.harness.deps.locking import Conflict, Lock, classify, refuse_unknown

MANIFEST = """
[project]
name = "areal"
version = "1"
dependencies = ["peft>=0.1,<1"]
[project.optional-dependencies]
{server} = ["{server}==1.0"]
"""
HASHED = "{name}=={version} \\\n    --hash=sha256:aa\n"
OURS = "import peft\n\n\ndef use():\n    return peft.load(dtype=1)\n"


def lock_text(server, peft):
    return HASHED.format(name="peft", version=peft) + HASHED.format(name=server, version="1.0")


@pytest.fixture
def repo(tmp_path, monkeypatch):
    root = tmp_path / "repo"
    for folder in ("areal", "locks"):
        (root / folder).mkdir(parents=True)
    (root / "pyproject.toml").write_text(MANIFEST.format(server="sglang"))
    (root / "pyproject.vllm.toml").write_text(MANIFEST.format(server="vllm"))
    for server in ("sglang", "vllm"):
        (root / "locks" / f"{server}.txt").write_text(lock_text(server, "0.1.0"))
    (root / "areal" / "client.py").write_text(OURS)
    monkeypatch.chdir(root)
    monkeypatch.setenv("AREAL_API_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        upgrade, "compile_lock", lambda text, extra, previous, wanted: Lock(lock_text(extra, wanted["peft"]))
    )
    return root


def wheel(folder, version, text):
    path = folder / f"peft-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("peft/__init__.py", text)
    return str(path)


@pytest.fixture
def wheels(tmp_path):
    return [
        "--wheel",
        wheel(tmp_path, "0.1.0", "def load(dtype=None): ..."),
        "--wheel",
        wheel(tmp_path, "0.2.0", "def load(torch_dtype=None): ..."),
        "--wheel",
        wheel(tmp_path, "0.3.0", "def load(dtype=None, more=None): ..."),
    ]


def run(capsys, *argv):
    code = deps.main(["upgrade", *argv, "--json"])
    return code, json.loads(capsys.readouterr().out)


def tracked(root):
    return {p.name: p.read_text() for p in root.rglob("*") if p.is_file() and not {"build", ".git"} & set(p.parts)}


def test_clean_upgrade_is_a_dry_run_with_a_summary(repo, wheels, capsys):
    before = tracked(repo)
    code, told = run(capsys, "peft==0.3.0", *wheels)
    assert code == 0
    assert told["variants"]["vllm"]["changes"] == {"peft": {"from": "0.1.0", "to": "0.3.0"}}
    assert told["audits"][0]["breaks"] == 0
    assert tracked(repo) == before
    assert "Clean" in (repo / "build" / "upgrade-summary.md").read_text()


def test_breaking_upgrade_exits_1_with_the_site_as_a_task(repo, wheels, capsys):
    code, told = run(capsys, "peft==0.2.0", *wheels)
    assert code == 1
    assert [finding["code"] for finding in told["findings"]] == ["PARAM_REMOVED"]
    page = (repo / "build" / "upgrade-summary.md").read_text()
    assert "- [ ] `PARAM_REMOVED`" in page
    assert "areal/client.py:5" in page
    assert "torch_dtype" in page


def test_apply_writes_locks(repo, wheels, capsys):
    code, told = run(capsys, "peft==0.3.0", "--apply", *wheels)
    assert code == 0
    assert told["applied"] == ["locks/sglang.txt", "locks/vllm.txt"]
    assert "peft==0.3.0" in (repo / "locks" / "vllm.txt").read_text()


def test_apply_refuses_to_overwrite_uncommitted_changes(repo, wheels, capsys):
    git = ["git", "-C", str(repo), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    (repo / "locks" / "vllm.txt").write_text(lock_text("vllm", "0.1.0") + "# mine\n")
    before = tracked(repo)
    code, told = run(capsys, "peft==0.3.0", "--apply", *wheels)
    assert code == 2
    assert told["error"]["code"] == "D020"
    assert {name: text for name, text in tracked(repo).items() if name in before} == before


def test_conflict_of_upstreams_exits_4_with_choices(repo, wheels, capsys, monkeypatch):
    message = (
        "Because vllm==1.0 depends on peft>=0.1,<0.3 and areal depends on peft==0.3.0, we can conclude that your "
        "requirements and vllm==1.0 are incompatible."
    )
    conflict = classify(message, {"peft": "0.3.0"})
    monkeypatch.setattr(upgrade, "compile_lock", lambda *_: conflict)
    code, told = run(capsys, "peft==0.3.0", "--apply", *wheels)
    assert code == 4
    assert {choice["action"] for choice in told["choices"]} >= {"other version", "override"}
    assert len(told["next"]) == 1  # both variants say the same
    assert "peft==0.1.0" in (repo / "locks" / "vllm.txt").read_text()
    assert "Conflict (needs_decision)" in (repo / "build" / "upgrade-summary.md").read_text()


def test_range_of_ours_that_excludes_an_upstream_is_widened(repo, capsys, monkeypatch):
    def compile_once(text, extra, previous, wanted):
        if "peft>=0.1,<1" in text and extra == "vllm":
            return classify(
                "Because vllm==1.0 depends on peft==2.0.0 and areal depends on peft>=0.1,<1, we can conclude",
                {"vllm": "1.0"},
            )
        return Lock(HASHED.format(name="peft", version="2.0.0") + HASHED.format(name="vllm", version="1.0"))

    def nowhere(package, version):
        raise SourcesUnavailable(f"{package.name}=={version} cannot be fetched")

    monkeypatch.setattr(upgrade, "compile_lock", compile_once)
    monkeypatch.setattr(upgrade, "fetch", nowhere)
    code, told = run(capsys, "vllm==1.0")
    assert told["variants"]["vllm"]["widened"] == {"peft": "2.0.0"}
    assert "<3" in told["variants"]["vllm"]["manifest_diff"]
    assert code == 3  # nothing has peft 2.0.0


def test_without_uv_the_audit_is_still_made_and_the_exit_is_3(repo, wheels, capsys, monkeypatch):
    def no_uv(*_):
        raise MissingTool("uv is not installed", code="no_uv", next_action="python -m pip install uv")

    monkeypatch.setattr(upgrade, "compile_lock", no_uv)
    code, told = run(capsys, "peft==0.2.0", *wheels)
    assert code == 3
    assert told["audits"][0]["breaks"] == 1
    assert told["next"] == ["python -m pip install uv", "areal deps upgrade peft==0.2.0"]
    assert "Could not be done" in (repo / "build" / "upgrade-summary.md").read_text()


def test_unusable_request_still_writes_a_summary(repo, capsys):
    code, told = run(capsys, "nothing==1.0")
    assert code == 2
    assert told["error"]["code"] == "D001"
    assert "Stopped" in (repo / "build" / "upgrade-summary.md").read_text()
    assert json.loads((repo / "build" / "upgrade-summary.json").read_text())["exit"] == 2


@pytest.mark.parametrize(("version", "is_there"), [("99.9", False), ("99.99", True)])
def test_version_that_the_index_lacks_is_refused_without_choices(version, is_there):
    message = "Because there is no version of\n  peft==99.9 and areal depends on peft==99.9, we can conclude that"
    if is_there:
        refuse_unknown(message, {"peft": version})
        return
    with pytest.raises(UsageProblem, match=r"peft==99\.9: the package index has no such version"):
        refuse_unknown(message, {"peft": version})


def test_conflict_is_classified_by_who_excludes_whom():
    ours = classify(
        "Because sglang>=0.5 depends on torch==2.14.1 and areal depends on torch>=2.11,<2.14, we", {"sglang": "1"}
    )
    assert isinstance(ours, Conflict)
    assert (ours.kind, ours.widen) == ("auto", {"torch": "2.14.1"})
    upstreams = classify("Because a==1 depends on torch==2.14.1 and b==2 depends on torch==2.13.0, we can", {"a": "1"})
    assert upstreams.kind == "needs_decision"
    not_there = classify(
        "Because there is no version of vllm==99 and areal depends on vllm==99, we can", {"vllm": "99"}
    )
    assert not_there.kind == "needs_decision"


def test_lock_text_never_names_the_scratch_folder():
    assert (
        locking._clean("a==1\n    # via\n    #   -c requested.txt\n    #   areal\n")
        == "a==1\n    # via\n    #   areal\n"
    )
