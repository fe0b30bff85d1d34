# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Claude Code: subagents, path rules, settings with hooks, and one command a skill.

Skills become `.claude/commands/<name>.md`, which Claude Code offers to people as `/<name>` and to the model like a skill. They are
not put under `.claude/skills`: OpenCode scans that folder too and then picks one of two copies at random in each run.
"""

from __future__ import annotations

import json
import re

from areal.harness.generate.output import PLACEHOLDER, Generated, with_header
from areal.harness.generate.sources import HOOKS_FILE, Expert, Hook, Rule, Skill, Sources
from areal.harness.platforms.common import (
    Bodies,
    RenderedExpert,
    front_matter,
    hook_command,
    settings_sha,
    source_sha,
    split_front_matter,
)

EXPERT_FILE = ".claude/agents/{name}.md"
READ_TOOLS = "Read, Grep, Glob"
TOOLS = {"read": READ_TOOLS, "verify": f"{READ_TOOLS}, Bash", "write": f"{READ_TOOLS}, Bash, Edit, Write"}
EFFORTS = {"low": "low", "med": "medium", "high": "high"}
EVENTS = {"before_edit": "PreToolUse", "after_edit": "PostToolUse"}
EDIT_TOOLS = "Write|Edit|MultiEdit|NotebookEdit"
RELATIVE_LINK = re.compile(r"(\]\()(?![a-z]+:|#|/)([^)]+)(\))")


def render(sources: Sources, bodies: Bodies) -> list[Generated]:
    """Everything under `.claude`, and `CLAUDE.md`."""
    out = [_expert(expert, bodies) for expert in sources.experts]
    out += [_rule(rule, bodies) for rule in sources.rules]
    out += [_skill(skill, bodies) for skill in sources.skills]
    out.append(_settings(sources.hooks, bodies))
    return out


def _expert(expert: Expert, bodies: Bodies) -> Generated:
    fields = {
        "name": expert.name,
        "description": expert.description,
        "tools": TOOLS[expert.access],
        "model": "inherit",
        "effort": EFFORTS[expert.effort],
    }
    text = front_matter(fields, bodies.experts[expert.name])
    path = EXPERT_FILE.format(name=expert.name)
    return with_header(path, text, expert.source, source_sha(expert, bodies), "claude")


def read_expert(text: str, name: str) -> RenderedExpert:
    """Read an expert back from its file."""
    fields, body = split_front_matter(text)
    access = next(access for access, tools in TOOLS.items() if tools == fields["tools"])
    return RenderedExpert(str(fields["name"]), str(fields["description"]), access, body)


def _rule(rule: Rule, bodies: Bodies) -> Generated:
    fields = {"paths": list(rule.paths)} if rule.paths else {}
    text = front_matter(fields, f"# {rule.title}\n\n{bodies.rules[rule.id].lstrip()}")
    return with_header(f".claude/rules/{rule.id}.md", text, rule.source, source_sha(rule, bodies), "claude")


def _skill(skill: Skill, bodies: Bodies) -> Generated:
    fields = {"description": skill.description}
    if skill.argument_hint:
        fields["argument-hint"] = skill.argument_hint
    folder = skill.source.parent.as_posix()
    body = RELATIVE_LINK.sub(lambda match: f"{match[1]}{folder}/{match[2]}{match[3]}", bodies.skills[skill.name])
    note = f"\nFiles named without a folder are in `{folder}/`. What the user asked for: $ARGUMENTS\n"
    text = front_matter(fields, body.rstrip("\n") + "\n" + note)
    return with_header(f".claude/commands/{skill.name}.md", text, skill.source, source_sha(skill, bodies), "claude")


def _settings(hooks: tuple[Hook, ...], bodies: Bodies) -> Generated:
    events: dict[str, list[object]] = {}
    for hook in hooks:
        command = {"type": "command", "command": hook_command(hook.id, "claude"), "timeout": hook.timeout_s}
        events.setdefault(EVENTS[hook.event], []).append({"matcher": EDIT_TOOLS, "hooks": [command]})
    text = json.dumps({"_generated": PLACEHOLDER, "hooks": events}, indent=2) + "\n"
    return with_header(".claude/settings.json", text, HOOKS_FILE, settings_sha(bodies), "claude")
