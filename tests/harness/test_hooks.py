# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What areal says around an edit of an agent, in the form that each platform shows to its model."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from areal.cli.harness import main
from areal.harness.core.errors import DecisionNeeded, UsageProblem
from areal.harness.hooks import HOOKS, answer, edited_paths, run_hook
from tests.harness.checkouts import ROOT

PATCH = "*** Begin Patch\n*** Update File: AGENTS.md\n@@\n-a\n+b\n*** Add File: areal/new.py\n+x\n*** End Patch\n"


@pytest.mark.parametrize(
    ("tool_input", "paths"),
    [
        ({"file_path": str(ROOT / "AGENTS.md")}, ["AGENTS.md"]),
        ({"filePath": "areal/api/cli_args.py"}, ["areal/api/cli_args.py"]),
        ({"command": PATCH}, ["AGENTS.md", "areal/new.py"]),
        ({"command": ["apply_patch", PATCH]}, ["AGENTS.md", "areal/new.py"]),
        ({"patchText": PATCH}, ["AGENTS.md", "areal/new.py"]),
        ({"file_path": "/etc/passwd"}, []),
        ({"file_path": "../../etc/passwd"}, []),
        ({}, []),
        (None, []),
        ("text", []),
    ],
)
def test_edited_paths_of_every_platform(tool_input: Any, paths: list[str]) -> None:
    assert edited_paths(ROOT, {"tool_input": tool_input, "cwd": str(ROOT)}) == paths


@pytest.mark.parametrize(
    "path", ["AGENTS.md", ".claude/settings.json", ".codex/hooks.json", ".opencode/plugins/areal.js"]
)
def test_edit_of_a_generated_file_is_refused_with_its_source(path: str) -> None:
    decision = run_hook(ROOT, "guard-generated", json.dumps({"tool_input": {"file_path": path}, "cwd": str(ROOT)}))
    assert path in decision.deny and ".agents/" in decision.deny and "areal harness build" in decision.deny


@pytest.mark.parametrize("path", [".agents/hooks.yaml", "areal/api/cli_args.py", "no/such/file.md", "areal"])
def test_edit_of_anything_else_is_let_through(path: str) -> None:
    decision = run_hook(ROOT, "guard-generated", json.dumps({"tool_input": {"file_path": path}, "cwd": str(ROOT)}))
    assert decision.deny == ""


def test_after_an_edit_the_model_hears_what_it_obliges_to() -> None:
    def said(path: str) -> str:
        return run_hook(ROOT, "after-edit", json.dumps({"tool_input": {"file_path": path}, "cwd": str(ROOT)})).context

    assert "areal harness build" in said(".agents/hooks.yaml")
    assert "fsdp" in said("areal/engine/fsdp_engine.py")
    assert "tests/engine/test_fsdp_engine.py" in said("areal/engine/fsdp_engine.py")
    assert said("README.md") == ""


def test_answers_are_in_the_words_of_the_platform() -> None:
    event = json.dumps({"tool_input": {"file_path": "AGENTS.md"}, "cwd": str(ROOT)})
    refused = run_hook(ROOT, "guard-generated", event)
    for platform in ("claude", "codex"):
        output = answer(refused, platform)["hookSpecificOutput"]
        assert output["permissionDecision"] == "deny"
        assert output["permissionDecisionReason"] == refused.deny
    assert answer(refused, "opencode") == {"deny": refused.deny}
    edited = json.dumps({"tool_input": {"file_path": ".agents/hooks.yaml"}, "cwd": str(ROOT)})
    remark = run_hook(ROOT, "after-edit", edited)
    assert answer(remark, "claude")["hookSpecificOutput"]["additionalContext"] == remark.context
    assert answer(run_hook(ROOT, "after-edit", "{}"), "claude") == {}


def test_bad_input_of_a_hook_has_a_message() -> None:
    with pytest.raises(UsageProblem, match="not JSON"):
        run_hook(ROOT, "after-edit", "{")
    with pytest.raises(UsageProblem, match="object"):
        run_hook(ROOT, "after-edit", "[]")
    with pytest.raises(DecisionNeeded):
        run_hook(ROOT, "no-such-hook", "{}")


def test_every_declared_hook_has_code_and_the_other_way_round() -> None:
    from areal.harness.core.tree import Tree
    from areal.harness.generate.sources import load_sources

    assert {hook.id for hook in load_sources(Tree(ROOT)).hooks} == set(HOOKS)


def test_hook_command_prints_json_for_the_platform(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"tool_input": {"file_path": "CLAUDE.md"}})))
    assert main(["hook", "guard-generated", "--platform", "opencode"]) == 0
    assert "CLAUDE.md" in json.loads(capsys.readouterr().out)["deny"]
    monkeypatch.chdir(tmp_path)
    assert main(["hook", "guard-generated"]) == 2
