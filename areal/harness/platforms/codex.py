# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Codex: roles as TOML and hooks. Skills are read from `.agents/skills` and the brief from `AGENTS.md` as they are."""

from __future__ import annotations

import json
import re
import tomllib

from areal.harness.generate.output import PLACEHOLDER, Generated, with_header
from areal.harness.generate.sources import HOOKS_FILE, Expert, Hook, Sources
from areal.harness.platforms.common import Bodies, RenderedExpert, hook_command, quoted, settings_sha, source_sha

EXPERT_FILE = ".codex/agents/{name}.toml"
SANDBOXES = {"read": "read-only", "verify": "workspace-write", "write": "workspace-write"}
EFFORTS = {"low": "low", "med": "medium", "high": "high"}
EVENTS = {"before_edit": "PreToolUse", "after_edit": "PostToolUse"}
EDIT_TOOLS = "apply_patch|Edit|Write"
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
VERIFY_NOTE = "You verify: run checks and report. Change no file.\n\n"


def render(sources: Sources, bodies: Bodies) -> list[Generated]:
    """Everything under `.codex`."""
    return [*(_expert(expert, bodies) for expert in sources.experts), _hooks(sources.hooks, bodies)]


def toml_text(text: str) -> str:
    """A text as a TOML string: literal where it can be, so that it stays readable, else a basic string with escapes."""
    if "'''" in text or text.endswith("'") or CONTROL.search(text) or "\r" in text:
        return quoted(text)
    return f"'''\n{text}'''"


def _expert(expert: Expert, bodies: Bodies) -> Generated:
    body = bodies.experts[expert.name]
    if expert.access == "verify":  # the sandbox must let it write caches, so the text has to say the rest
        body = VERIFY_NOTE + body
    lines = [
        f"# {PLACEHOLDER}",
        f"name = {quoted(expert.name)}",
        f"description = {quoted(expert.description)}",
        f'model_reasoning_effort = "{EFFORTS[expert.effort]}"',
        f'sandbox_mode = "{SANDBOXES[expert.access]}"',
        f"developer_instructions = {toml_text(body)}",
    ]
    path = EXPERT_FILE.format(name=expert.name)
    return with_header(path, "\n".join(lines) + "\n", expert.source, source_sha(expert, bodies), "codex")


def read_expert(text: str, name: str) -> RenderedExpert:
    """Read an expert back from its file."""
    data = tomllib.loads(text)
    body, access = data["developer_instructions"], "read" if data["sandbox_mode"] == "read-only" else "write"
    if body.startswith(VERIFY_NOTE):
        body, access = body.removeprefix(VERIFY_NOTE), "verify"
    return RenderedExpert(data["name"], data["description"], access, body)


def _hooks(hooks: tuple[Hook, ...], bodies: Bodies) -> Generated:
    events: dict[str, list[object]] = {}
    for hook in hooks:
        command = {"type": "command", "command": hook_command(hook.id, "codex"), "timeout": hook.timeout_s}
        events.setdefault(EVENTS[hook.event], []).append({"matcher": EDIT_TOOLS, "hooks": [command]})
    text = json.dumps({"description": PLACEHOLDER, "hooks": events}, indent=2) + "\n"
    return with_header(".codex/hooks.json", text, HOOKS_FILE, settings_sha(bodies), "codex")
