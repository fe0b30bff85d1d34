# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What `areal archon new` refuses, and that nothing is written then; the registry line; one family from end to end."""

import json
from pathlib import Path

import pytest

from areal.cli.archon import main
from areal.experimental.models.archon import families
from areal.experimental.models.archon.scaffold.findings import Refused
from areal.experimental.models.archon.scaffold.install import Target, install, with_line
from areal.experimental.models.archon.scaffold.pipeline import config_class_of


def report_of(capsys):
    return json.loads(capsys.readouterr().out)


def test_family_that_exists_is_wrong_usage_and_says_how_to_write_it_elsewhere(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "llama", "--json"]) == 2
    assert "--output" in report_of(capsys)["error"]["message"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("bart", "encoder-decoder"),
        ("gemma3", "gemma3_text"),
        ("gpt-sw3", "use that model type"),
        ("no_such_model", "no model type"),
        ("vit", "no causal language model"),
    ],
)
def test_model_that_is_no_decoder_is_refused_with_the_reason(model_type, reason):
    with pytest.raises(Refused, match=reason):
        config_class_of(model_type)


@pytest.mark.parametrize(
    ("model_type", "words"), [("mamba", "attention"), ("xglm", "embeddings"), ("roberta", "is_decoder")]
)
def test_decoder_outside_the_vocabulary_exits_with_11_and_evidence(capsys, tmp_path, monkeypatch, model_type, words):
    monkeypatch.chdir(tmp_path)
    assert main(["new", model_type, "--json", "--output", str(tmp_path / "out")]) == 11
    report = report_of(capsys)
    assert words in report["findings"][0]["message"]
    written = json.loads((tmp_path / "scaffold-report.json").read_text())
    assert {**report, "seconds": 0} == {**written, "seconds": 0}
    assert [path.name for path in tmp_path.iterdir()] == ["scaffold-report.json"]


@pytest.mark.parametrize("name", ["a-b", "1a", "_a", "__init__", "é", "class", "../up", "model_args", "moe"])
def test_name_that_is_no_package_of_its_own_is_wrong_usage(name, capsys):
    assert main(["new", "olmo", "--name", name, "--json"]) == 2
    assert name in report_of(capsys)["error"]["message"]


def test_name_that_hides_an_installed_package_is_wrong_usage(tmp_path, capsys):
    assert main(["new", "olmo", "--name", "json", "--output", str(tmp_path), "--json"]) == 2
    assert "hide" in report_of(capsys)["error"]["message"]


def test_install_that_fails_half_way_leaves_nothing(tmp_path):
    stage, target = tmp_path / "stage", Target(tmp_path / "out/a", tmp_path / "out/a_tests", tmp_path / "absent.py")
    for folder in (stage / "package/a", stage / "tests/a_tests"):
        folder.mkdir(parents=True)
    with pytest.raises(FileNotFoundError):
        install(target, stage, "a")
    assert list((tmp_path / "out").iterdir()) == []


def test_registry_line_is_added_in_order_and_once():
    source = Path(families.__file__).read_text()
    once = with_line(source, "lemma", "lemma")
    assert with_line(once, "lemma", "lemma") == once
    lines = [line for line in once.splitlines() if "_HOME}" in line]
    assert lines == sorted(lines) and any('"lemma": f"{_HOME}.lemma.spec"' in line for line in lines)


@pytest.mark.slow
def test_new_family_is_written_outside_the_tree_with_tests_that_passed(capsys, tmp_path):
    assert main(["new", "seed_oss", "--json", "--output", str(tmp_path)]) == 0
    report = report_of(capsys)
    assert report["ok"] and "passed" in report["stats"]["tests"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed_oss", "seed_oss_tests"]
    assert min(report["separation"].values()) > 1e-4
