# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Contracts on disk, releases out of archives, and the commands around them."""

import json
import zipfile

import pytest
import yaml

from areal.cli import api
from areal.harness.apiaudit import packages
from areal.harness.apiaudit.contract import read_contract
from areal.harness.apiaudit.errors import SourcesUnavailable, UnreadableContract
from areal.harness.apiaudit.library import wheels
from areal.harness.apiaudit.library.wheels import from_path
from tests.harness.apiaudit.fakelib import FAKELIB, write_files

CLIENT = "import fakelib\n\n\ndef use(x):\n    return fakelib.f(x, dtype=1)\n"


@pytest.fixture
def repo(tmp_path, monkeypatch):
    monkeypatch.setitem(packages.PACKAGES, "fakelib", FAKELIB)
    monkeypatch.setenv("AREAL_API_CACHE", str(tmp_path / "cache"))
    root = write_files(tmp_path / "repo", {"pyproject.toml": "", "areal/client.py": CLIENT})
    monkeypatch.chdir(root)
    return root


def wheel(folder, files, version="1.0"):
    path = folder / f"fakelib-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def run(capsys, *argv):
    code = api.main([*argv, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_discover_writes_the_contract_and_check_then_agrees(repo, capsys):
    assert run(capsys, "discover", "fakelib", "--check")[0] == 1
    code, told = run(capsys, "discover", "fakelib")
    assert (code, told["written"]) == (0, ["checklists/fakelib.yaml", "checklists/fakelib.md"])
    data = yaml.safe_load((repo / "checklists/fakelib.yaml").read_text())
    assert data["generated"]["symbols"][1] == {
        "symbol": "fakelib.f",
        "kind": "call",
        "positional": 1,
        "keywords": ["dtype"],
        "sites": ["areal/client.py#use"],
    }
    assert run(capsys, "discover", "fakelib", "--check")[0] == 0


def test_moved_lines_leave_the_contract_and_a_new_keyword_changes_it(repo, capsys):
    run(capsys, "discover", "fakelib")
    (repo / "areal/client.py").write_text("# moved\n\n\n" + CLIENT)
    assert run(capsys, "discover", "fakelib", "--check")[0] == 0
    (repo / "areal/client.py").write_text(CLIENT.replace("dtype", "device"))
    code, told = run(capsys, "discover", "fakelib", "--check")
    assert code == 1
    assert {finding["code"] for finding in told["findings"]} == {"A001"}
    (repo / "areal/client.py").write_text(CLIENT.replace("fakelib.f", "fakelib.g"))
    _, told = run(capsys, "discover", "fakelib", "--check")
    assert "new: fakelib.g; gone: fakelib.f" in told["findings"][0]["message"]


def test_curated_block_survives_with_its_comments(repo, capsys):
    run(capsys, "discover", "fakelib")
    path = repo / "checklists/fakelib.yaml"
    curated = "curated:\n  # why\n  accepts:\n    fakelib.f: [dtype]  # read far below\n"
    path.write_text(path.read_text().replace("curated: {}\n", curated))
    (repo / "areal/client.py").write_text(CLIENT + "\nfakelib.g()\n")
    run(capsys, "discover", "fakelib")
    assert path.read_text().endswith(curated)
    assert read_contract(repo, FAKELIB).curated["accepts"] == {"fakelib.f": ["dtype"]}


@pytest.mark.parametrize("text", ["a: [", "schema: areal/api@1\n", "- list\n", "generated: 1\ncurated: {}\n"])
def test_unreadable_contract_exits_2_and_changes_nothing(repo, capsys, text):
    path = repo / "checklists/fakelib.yaml"
    write_files(repo, {"checklists/fakelib.yaml": text})
    with pytest.raises(UnreadableContract):
        read_contract(repo, FAKELIB)
    assert run(capsys, "discover", "fakelib")[0] == 2
    assert path.read_text() == text


def test_source_that_does_not_parse_is_named(repo, capsys):
    write_files(repo, {"areal/broken.py": "import fakelib\ndef ("})
    code, told = run(capsys, "discover", "fakelib")
    assert code == 2
    assert (told["error"]["file"], told["error"]["line"]) == ("areal/broken.py", 2)


def test_audit_of_a_wheel_on_disk_finds_the_break(repo, tmp_path, capsys):
    old = wheel(tmp_path, {"fakelib/__init__.py": "def f(x, dtype=None): ..."})
    new = wheel(tmp_path, {"fakelib/__init__.py": "def f(x, torch_dtype=None): ..."}, "2.0")
    code, told = run(capsys, "audit", "fakelib==2.0", "--wheel", str(new), "--from-wheel", str(old))
    assert code == 1
    assert told["input"]["to"] == "2.0"
    assert told["input"]["from"] == "1.0"
    assert [(f["status"], f["code"], f["file"], f["line"]) for f in told["findings"]] == [
        ("BREAK", "PARAM_REMOVED", "areal/client.py", 5)
    ]
    assert run(capsys, "audit", "fakelib==1.0", "--wheel", str(old))[0] == 0


def test_show_tells_signature_and_place(repo, tmp_path, capsys):
    path = wheel(
        tmp_path, {"fakelib/__init__.py": "from .a import f", "fakelib/a.py": 'def f(x, *, y=1):\n    """Does."""'}
    )
    code, told = run(capsys, "show", "fakelib.f", "--wheel", str(path))
    assert code == 0
    assert told["shown"] == {
        "symbol": "fakelib.f",
        "what": "function",
        "defined_in": "fakelib.a.f",
        "signatures": ["(x, *, y=1)"],
        "docstring": "Does.",
    }
    code, told = run(capsys, "show", "fakelib.g", "--wheel", str(path))
    assert (code, told["error"]["code"]) == (4, "unknown_symbol")


def test_unknown_package_exits_4_with_choices(repo, capsys):
    code, told = run(capsys, "audit", "transfomers==1.0")
    assert code == 4
    assert "Did you mean 'transformers'" in told["error"]["message"]


def test_release_that_cannot_be_fetched_exits_3(repo, capsys, monkeypatch):
    def fail(name, version):
        raise SourcesUnavailable(f"{name}: no network", code="wheel_unavailable")

    monkeypatch.setattr(wheels, "_download", fail)
    code, told = run(capsys, "audit", "fakelib==9.9")
    assert code == 3
    assert "no network" in told["error"]["message"]
    assert told["next"] == ["areal api audit fakelib==9.9 --wheel PATH"]


def test_unpacked_wheel_keeps_sources_and_names_compiled_modules(tmp_path, monkeypatch):
    monkeypatch.setenv("AREAL_API_CACHE", str(tmp_path / "cache"))
    path = wheel(tmp_path, {"fakelib/__init__.py": "x = 1", "fakelib/_C.abi3.so": "binary", "fakelib/data.bin": "data"})
    release = from_path(path)
    names = sorted(p.name for p in release.folder.rglob("*") if p.is_file())
    assert names == ["__init__.py", "compiled.txt"]
    assert release.sources().is_compiled("fakelib._C")
    assert release.version == "1.0"


@pytest.mark.parametrize("files", [{}, {"fakelib/_C.so": "binary"}])
def test_wheel_without_sources_is_refused(tmp_path, monkeypatch, files):
    monkeypatch.setenv("AREAL_API_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SourcesUnavailable, match="no Python sources"):
        from_path(wheel(tmp_path, files))


def test_broken_archive_and_path_outside_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("AREAL_API_CACHE", str(tmp_path / "cache"))
    broken = tmp_path / "fakelib-1.0-py3-none-any.whl"
    broken.write_text("no zip")
    with pytest.raises(SourcesUnavailable, match="not a readable archive"):
        from_path(broken)
    with pytest.raises(SourcesUnavailable, match="path outside"):
        from_path(wheel(tmp_path, {"../evil.py": "x = 1"}))
    assert not (tmp_path / "cache" / "evil.py").exists()
    with pytest.raises(SourcesUnavailable, match="does not exist"):
        from_path(tmp_path / "absent.whl")
