# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from areal.cli import main as cli
from areal.experimental.models.archon.model_spec import get_supported_model_types
from areal.experimental.models.archon.proof import CHECKS

PAGE = Path(__file__).parents[2] / "docs" / "archon_families.md"


def test_list_as_json_has_the_options_of_every_model_type(capsys):
    assert cli.main(["archon", "list", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert set(table) == get_supported_model_types()
    assert table["gemma2"]["layout"] == "sandwich"
    assert table["qwen3_next"]["gate"] == "query"
    assert table["gpt_oss"]["scores"] == "window on some layers, sinks"


def test_docs_page_of_families_is_current(capsys):
    assert cli.main(["archon", "list", "--markdown"]) == 0
    assert capsys.readouterr().out == PAGE.read_text(), "run: areal archon list --markdown > docs/archon_families.md"


@pytest.mark.parametrize("action", ["list", "check"])
def test_unknown_model_type_is_told_how_to_get_its_family(capsys, action):
    assert cli.main(["archon", action, "biogpt"]) == 2
    assert "write the family: areal archon new biogpt" in capsys.readouterr().err


def test_list_says_nothing_but_its_result():
    command = [sys.executable, "-m", "areal.cli.main", "archon", "list", "deepseek_v3", "gpt_oss"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.startswith("deepseek_v3\n") and done.stderr == ""


@pytest.mark.parametrize("page", ["README.md", "docs/add_a_model.md"])
def test_model_types_in_the_guides_are_of_transformers_and_without_a_family(page):
    types = re.findall(r"^(?:areal archon new |TYPE=)([a-z]\w*) ", (PAGE.parents[1] / page).read_text(), re.MULTILINE)
    assert types and set(types) <= set(CONFIG_MAPPING) - get_supported_model_types(), types


def test_list_of_one_model_type_prints_its_options(capsys):
    assert cli.main(["archon", "list", "granite"]) == 0
    assert "multipliers: embedding, residual, scores, logits" in capsys.readouterr().out


def test_check_as_json_reports_every_check(capsys):
    assert cli.main(["archon", "check", "olmo2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] and report["num_failed"] == 0
    assert len(report["results"]) == 2 * len(CHECKS)
    logits = next(result for result in report["results"] if result["name"] == "logits")
    assert logits["measured"] <= logits["limit"]


def test_check_of_an_unknown_model_type_returns_2_and_names_the_known_ones(capsys):
    assert cli.main(["archon", "check", "bert"]) == 2
    assert "llama" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["frobnicate"]])
def test_wrong_usage_ends_with_code_2(argv):
    with pytest.raises(SystemExit) as ended:
        cli.main(["archon", *argv])
    assert ended.value.code == 2
