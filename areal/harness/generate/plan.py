# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""All files that the harness generates from its sources, as texts; `areal harness build` writes and `check` compares them."""

from __future__ import annotations

from pathlib import Path

from areal.harness.core.documents import read_text
from areal.harness.core.errors import DecisionNeeded
from areal.harness.generate.output import PLACEHOLDER, Generated, digest, with_header
from areal.harness.generate.sources import AGENTS, BRIEF_FOLDER, HOOKS_FILE, Sources
from areal.harness.generate.tables import expand
from areal.harness.platforms import FOLDERS, PLATFORMS
from areal.harness.platforms.common import Bodies

BRIEF = "AGENTS.md"
CLAUDE_BRIEF = "CLAUDE.md"
SHARED = "shared"  # the platform of AGENTS.md, that all of them read


def expanded(sources: Sources) -> Bodies:
    """The texts of experts, rules and skills with derived facts filled in."""
    root = sources.tree.root
    paths = [item.source for item in (*sources.experts, *sources.rules, *sources.skills)] + [HOOKS_FILE]
    return Bodies(
        experts={item.name: expand(item.body, item.source, sources, item.covers) for item in sources.experts},
        rules={item.id: expand(item.body, item.source, sources) for item in sources.rules},
        skills={
            item.name: item.body for item in sources.skills
        },  # the canonical copy is read as it is by two platforms
        shas={path: digest(read_text(root, path)) for path in paths},
    )


def brief(sources: Sources) -> list[Generated]:
    """`AGENTS.md` from the sections, and `CLAUDE.md` that imports it."""
    parts = [expand(section.body.strip("\n"), section.source, sources) for section in sources.sections]
    sha = digest(*(section.body for section in sources.sections), *(rule.body for rule in sources.rules))
    text = f"<!-- {PLACEHOLDER} -->\n\n" + "\n\n".join(parts) + "\n"
    pointer = f"<!-- {PLACEHOLDER} -->\n\n@{BRIEF}\n"
    return [
        with_header(BRIEF, text, BRIEF_FOLDER, sha, SHARED),
        with_header(CLAUDE_BRIEF, pointer, BRIEF_FOLDER, sha, "claude"),
    ]


def all_generated(sources: Sources, platform: str | None = None) -> list[Generated]:
    """Every generated file, or those of one platform with the shared brief, sorted by path."""
    if platform is not None and platform not in PLATFORMS:
        raise DecisionNeeded(f"no platform {platform!r}", code="unknown_platform", choices=sorted(PLATFORMS))
    bodies = expanded(sources)
    out = brief(sources)
    for render in PLATFORMS.values():
        out += render(sources, bodies)
    wanted = [item for item in out if platform in (None, item.platform) or item.platform == SHARED]
    return sorted(wanted, key=lambda item: item.path)


def orphans(sources: Sources, generated: list[Generated]) -> list[Path]:
    """Tracked files in the platforms' folders that no source accounts for; people's own local settings are not tracked."""
    expected = {item.path.as_posix() for item in generated}
    folders = tuple(f"{folder}/" for folder in FOLDERS.values())
    kept = tuple(sources.config.get("hand_written", ()))
    tracked = [name for name in sources.tree.files if name.startswith(folders) and not name.startswith(kept or ("\0",))]
    return [Path(name) for name in tracked if name not in expected]


__all__ = ["AGENTS", "BRIEF", "CLAUDE_BRIEF", "all_generated", "brief", "expanded", "orphans"]
