# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""OpenCode: agents with their resolved permissions, skills twelve times over, commands, and a conversation with its plugin."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from areal.harness.conformance.fake_model import FakeModel, ToolCall
from areal.harness.conformance.sandbox import Check, Sandbox, missing
from areal.harness.generate.plan import BRIEF
from areal.harness.generate.sources import Sources

NUM_RUNS = 12  # which of two copies it takes varies from run to run
# OpenCode installs a package for plugins before it loads one; without a network it would wait for minutes.
OFFLINE = {"npm_config_offline": "true", "npm_config_fetch_retries": "0", "OPENCODE_DISABLE_AUTOUPDATE": "1"}
EDITING = ("edit", "bash", "write", "webfetch", "task")


def probe(program: Path, sandbox: Sandbox, sources: Sources) -> Iterator[Check]:
    """Ask OpenCode."""
    version = sandbox.run(str(program), "--version")
    yield Check("starts", version.returncode == 0, version.stdout.strip() or version.stderr[-300:])
    listed = sandbox.run(str(program), "agent", "list", **OFFLINE)
    agents = {match[1] for match in re.finditer(r"^(\S+) \((?:subagent|primary|all)\)", listed.stdout, re.MULTILINE)}
    expected = {expert.name for expert in sources.experts}
    yield Check(
        "experts", expected <= agents, missing(expected, agents) if listed.returncode == 0 else listed.stderr[-300:]
    )
    readers = [expert.name for expert in sources.experts if expert.access == "read"]
    writing = [name for name in readers if _may_write(sandbox, program, name)]
    yield Check("experts that read cannot write", not writing, ", ".join(writing))
    yield from _skills(program, sandbox, sources)
    config = json.loads(sandbox.run(str(program), "debug", "config", **OFFLINE).stdout or "{}")
    commands = sorted(config.get("command") or {})
    yield Check("no commands but skills", commands == [], ", ".join(commands))
    yield from _converse(program, sandbox)


def _may_write(sandbox: Sandbox, program: Path, name: str) -> bool:
    """The last rule that matches a tool decides."""
    shown = json.loads(sandbox.run(str(program), "debug", "agent", name, **OFFLINE).stdout or "{}")
    for tool in EDITING:
        action = "allow"
        for rule in shown.get("permission", ()):
            if rule.get("permission") in (tool, "*") and rule.get("pattern") == "*":
                action = rule["action"]
        if action != "deny":
            return True
    return not shown


def _skills(program: Path, sandbox: Sandbox, sources: Sources) -> Iterator[Check]:
    places: Counter[tuple[str, str]] = Counter()
    for _ in range(NUM_RUNS):
        listed = json.loads(sandbox.run(str(program), "debug", "skill", **OFFLINE).stdout or "[]")
        inside = [skill for skill in listed if skill["location"].startswith(str(sandbox.checkout))]
        places.update((skill["name"], skill["location"]) for skill in inside)
    found = {name for name, _ in places}
    names = {skill.name for skill in sources.skills}
    yield Check("skills", names == found, missing(names, found))
    steady = len(places) == len(found) and all(count == NUM_RUNS for count in places.values())
    yield Check(f"one place a skill in {NUM_RUNS} runs", steady, "" if steady else f"{dict(places)}"[:600])


def _converse(program: Path, sandbox: Sandbox) -> Iterator[Check]:
    guarded = sandbox.checkout / BRIEF
    before = guarded.read_bytes()
    script = [
        ToolCall("read", {"filePath": str(guarded)}),
        ToolCall("write", {"filePath": str(guarded), "content": "overwritten"}),
        ToolCall("write", {"filePath": str(sandbox.checkout / ".agents" / "notes.txt"), "content": "x"}),
    ]
    with FakeModel(script) as model:
        provider = {"npm": "@ai-sdk/openai-compatible", "options": {"baseURL": f"{model.url}/v1", "apiKey": "none"}}
        config = {"provider": {"fake": provider | {"models": {"fake": {"tool_call": True}}}}}
        env = OFFLINE | {"OPENCODE_CONFIG_CONTENT": json.dumps(config)}
        run = sandbox.run(str(program), "run", "--model", "fake/fake", "hello", alone=False, **env)
        told = model.told()
    detail = "" if told else run.stderr[-600:]
    yield Check("brief shown to the model", "Edit a generated file (its header says so)" in told, detail)
    denied = "is generated from .agents/brief" in told and guarded.read_bytes() == before
    yield Check("edit of a generated file is refused", denied, "" if denied else (told[-600:] or detail))
    yield Check("remark after an edit reaches the model", "A source of the harness changed" in told)
