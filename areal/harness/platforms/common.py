# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What the renderers of all platforms share: YAML scalars, front matter, the shell line that runs a hook."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from areal.harness.core.documents import FRONT_MATTER, SAFE_LOADER
from areal.harness.generate.output import PLACEHOLDER
from areal.harness.generate.sources import AGENTS, Expert, Rule, Skill

PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9 ,._/-]*\Z")
WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
# What YAML does not take raw in a double-quoted scalar; TOML takes the same escapes.
UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


@dataclass(frozen=True)
class Bodies:
    """The expanded texts of experts, rules and skills by name, and the hash of each source."""

    experts: Mapping[str, str]
    rules: Mapping[str, str]
    skills: Mapping[str, str]
    shas: Mapping[Path, str]


@dataclass(frozen=True)
class RenderedExpert:
    """An expert read back from what a platform is given."""

    name: str
    description: str
    access: str
    body: str


def quoted(text: str) -> str:
    """A string in double quotes that YAML and TOML both read as this string."""
    return UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))


def scalar(text: str) -> str:
    """A string as a YAML scalar on one line that every parser reads as this string."""
    if PLAIN.match(text) and not text.endswith(" ") and text.lower() not in WORDS:
        return text
    return quoted(text)


def front_matter(fields: Mapping[str, object], body: str) -> str:
    """Front matter with the header as its first line, then the body."""
    lines = [f"# {PLACEHOLDER}"]
    for key, value in fields.items():
        if isinstance(value, Mapping):
            lines.append(f"{key}:")
            lines += [
                f"  {scalar(str(name)) if name != '*' else json.dumps(name)}: {item}" for name, item in value.items()
            ]
        elif isinstance(value, (list, tuple)):
            lines.append(f"{key}:")
            lines += [f"  - {quoted(item)}" for item in value]
        else:
            lines.append(f"{key}: {value if isinstance(value, (int, float)) else scalar(str(value))}")
    return "---\n" + "\n".join(lines) + "\n---\n" + body


def split_front_matter(text: str) -> tuple[dict[str, object], str]:
    """The inverse of `front_matter`: fields and body."""
    match = FRONT_MATTER.match(text)
    assert match is not None, "no front matter"
    return yaml.load(match.group(1) or "", Loader=SAFE_LOADER), text[match.end() :]


def hook_command(hook_id: str, platform: str) -> str:
    """A shell line that runs a hook with the checkout's own areal where there is one, and does nothing without it."""
    run = f"harness hook {hook_id} --platform {platform}"
    root = 'cd "${CLAUDE_PROJECT_DIR:-$(git rev-parse --show-toplevel)}" || exit 0; '
    return f"{root}if [ -x .venv/bin/areal ]; then .venv/bin/areal {run}; elif command -v areal >/dev/null; then areal {run}; fi"


def source_sha(item: Expert | Rule | Skill, bodies: Bodies) -> str:
    """The hash of an item's source."""
    return bodies.shas[item.source]


def settings_sha(bodies: Bodies) -> str:
    """The hash of the hooks' source."""
    return bodies.shas[AGENTS / "hooks.yaml"]
