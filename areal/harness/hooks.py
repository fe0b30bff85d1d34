# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What areal does around an edit of an agent: `areal harness hook ID` with the platform's JSON on stdin.

A hook decides on plain paths; `answer` puts the decision into the form in which each platform shows it to the model (a plain
line on stdout is shown by none of them). Runs at every edit: imports no YAML schema, no syntax trees, no torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from areal.harness.core.documents import read_markdown
from areal.harness.core.errors import DecisionNeeded, UsageProblem
from areal.harness.core.tree import Tree, translate_glob
from areal.harness.generate.output import read_stamp
from areal.harness.generate.sources import expert_files

PATCH_FILE = re.compile(r"^\*\*\* (?:Add|Update|Delete) File: (.+)$", re.MULTILINE)
PATH_KEYS = ("file_path", "filePath", "path", "notebook_path")
MAX_HEAD = 2000  # the header of a generated file is within its first characters


@dataclass(frozen=True)
class Decision:
    """What a hook says: a reason to refuse the edit, or a remark for the model; both empty when there is nothing to say."""

    deny: str = ""
    context: str = ""


def edited_paths(root: Path, event: dict[str, Any]) -> list[str]:
    """The paths of this repository that a tool call edits, relative to the root."""
    arguments = event.get("tool_input") or {}
    if not isinstance(arguments, dict):
        return []
    found = [str(arguments[key]) for key in PATH_KEYS if arguments.get(key)]
    for value in arguments.values():
        text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        found += PATCH_FILE.findall(text)
    base = Path(event.get("cwd") or root)
    paths = [(base / name).resolve() for name in found]
    return [path.relative_to(root).as_posix() for path in paths if path.is_relative_to(root)]


def guard_generated(root: Path, paths: list[str]) -> Decision:
    """Refuse edits of generated files."""
    for path in paths:
        target = root / path
        if target.is_file():
            stamp = read_stamp(target.read_text(encoding="utf-8", errors="replace")[:MAX_HEAD])
            if stamp is not None:
                where = f"{path} is generated from {stamp.source}"
                return Decision(deny=f"{where}. Edit the source, then run: areal harness build")
    return Decision()


def after_edit(root: Path, paths: list[str]) -> Decision:
    """What an edit obliges to."""
    remarks = []
    if any(path.startswith(".agents/") for path in paths):
        remarks.append("A source of the harness changed: run `areal harness build`, then `areal harness check`.")
    package = [path for path in paths if path.startswith("areal/") and path.endswith(".py")]
    for path in package:
        experts = _experts_of(root, path)
        tests = _tests_of(root, path)
        parts = [
            f"expert {', '.join(experts)} knows it" if experts else "",
            f"tests: {', '.join(tests)}" if tests else "",
        ]
        if any(parts):
            remarks.append(f"{path}: {'; '.join(part for part in parts if part)}.")
    return Decision(context=" ".join(remarks))


def _experts_of(root: Path, path: str) -> list[str]:
    found = []
    for source in expert_files(Tree(root)):
        data = read_markdown(root, source).data
        if any(translate_glob(pattern).match(path) for pattern in data.get("covers", ())):
            found.append(source.stem)
    return found


def _tests_of(root: Path, path: str) -> list[str]:
    """The test file of a module by name, else the folder that mirrors its package."""
    module = Path(path).relative_to("areal")
    folder = Path("tests") / module.parent
    test = folder / f"test_{module.stem}.py"
    return [str(where) for where in (test, folder) if (root / where).exists()][:1]


HOOKS: dict[str, Callable[[Path, list[str]], Decision]] = {"guard-generated": guard_generated, "after-edit": after_edit}


def run_hook(root: Path, hook_id: str, text: str) -> Decision:
    """Run a hook on the JSON that the platform sent."""
    if hook_id not in HOOKS:
        raise DecisionNeeded(f"no hook {hook_id!r}", code="unknown_hook", choices=sorted(HOOKS))
    try:
        event = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise UsageProblem(f"stdin is not JSON: {error}", code="json") from None
    if not isinstance(event, dict):
        raise UsageProblem(f"stdin must be a JSON object, got {type(event).__name__}", code="json")
    return HOOKS[hook_id](root, edited_paths(root, event))


def answer(decision: Decision, platform: str) -> dict[str, Any]:
    """A decision in the words of a platform; empty when there is nothing to say."""
    if platform == "opencode":  # our own plugin reads it
        return {name: value for name, value in vars(decision).items() if value}
    if decision.deny:
        output = {
            "hookEventName": "PreToolUse",
            "permissionDecision": "deny",
            "permissionDecisionReason": decision.deny,
        }
        return {"hookSpecificOutput": output}
    if decision.context:
        return {"hookSpecificOutput": {"hookEventName": "PostToolUse", "additionalContext": decision.context}}
    return {}
