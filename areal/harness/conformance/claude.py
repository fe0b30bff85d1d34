# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Claude Code: validates its folder, lists what it loaded, and shows its model brief, skills, and what the hooks say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from areal.harness.conformance.fake_model import FakeModel, ToolCall
from areal.harness.conformance.sandbox import Check, Sandbox, missing
from areal.harness.generate.plan import BRIEF
from areal.harness.generate.sources import Sources

MAX_TURNS = "6"


def probe(program: Path, sandbox: Sandbox, sources: Sources) -> Iterator[Check]:
    """Ask Claude Code."""
    version = sandbox.run(str(program), "--version")
    yield Check("starts", version.returncode == 0, version.stdout.strip() or version.stderr[-300:])
    validated = sandbox.run(str(program), "plugin", "validate", "--strict", "--json", ".claude")
    yield Check("validates .claude", validated.returncode == 0, validated.stdout[-300:] if validated.returncode else "")
    guarded = sandbox.checkout / BRIEF
    before = guarded.read_bytes()
    script = [
        ToolCall("Read", {"file_path": str(guarded)}),
        ToolCall("Write", {"file_path": str(guarded), "content": "overwritten"}),
        ToolCall("Write", {"file_path": str(sandbox.checkout / ".agents" / "notes.txt"), "content": "x"}),
    ]
    with FakeModel(script) as model:
        arguments = ["-p", "hello", "--output-format", "stream-json", "--verbose", "--max-turns", MAX_TURNS]
        env = {"ANTHROPIC_API_KEY": "none", "ANTHROPIC_BASE_URL": model.url, "DISABLE_AUTOUPDATER": "1"}
        env["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] = "1"
        run = sandbox.run(str(program), *arguments, "--permission-mode", "acceptEdits", alone=False, **env)
        told = model.told()
    start = _start(run.stdout)
    yield Check("experts", *_all({expert.name for expert in sources.experts}, set(start.get("agents", ()))))
    names = {skill.name for skill in sources.skills}
    yield Check("skills as commands", *_all(names, set(start.get("slash_commands", ()))))
    shown = {skill.name for skill in sources.skills if f"{skill.name}: {skill.description[:40]}" in told}
    yield Check("skills shown to the model", *_all(names, shown))
    yield Check("no skill in a second place", not (names & set(start.get("skills", ()))))
    yield Check(
        "brief shown to the model", "Edit a generated file (its header says so)" in told, f"{len(told)} characters sent"
    )
    denied = "is generated from .agents/brief" in told and guarded.read_bytes() == before
    yield Check("edit of a generated file is refused", denied, "" if denied else told[-600:])
    yield Check("remark after an edit reaches the model", "A source of the harness changed" in told)


def _all(expected: set[str], found: set[str]) -> tuple[bool, str]:
    return expected <= found, missing(expected, found)


def _start(output: str) -> dict[str, Any]:
    """The message in which a session says what it loaded."""
    for line in output.splitlines():
        if line.startswith("{") and '"subtype":"init"' in line:
            return json.loads(line)
    return {}
