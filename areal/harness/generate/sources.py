# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The sources of the harness as data: experts, rules, brief sections, hooks and skills under `.agents`.

Read by the renderers, by `areal harness check` and by the hooks. Loading stops at the first broken file (`UsageProblem`);
`areal harness check --only schema` lists everything that is broken.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from areal.harness.core.documents import Document, read_markdown, read_yaml
from areal.harness.core.tree import Tree

AGENTS = Path(".agents")
CONFIG_FILE = AGENTS / "harness.yaml"
HOOKS_FILE = AGENTS / "hooks.yaml"
BRIEF_FOLDER = AGENTS / "brief"
RULES_FOLDER = AGENTS / "rules"
EXPERTS_FOLDER = AGENTS / "experts"
SKILLS_FOLDER = AGENTS / "skills"


@dataclass(frozen=True, kw_only=True)
class Expert:
    """An agent that knows one part of the code base, or one kind of work. `access` is read, verify (runs commands) or write."""

    name: str
    description: str
    access: str
    effort: str
    covers: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    body: str
    source: Path


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule for the files that its globs match; without globs it holds everywhere."""

    id: str
    title: str
    paths: tuple[str, ...] = ()
    body: str
    source: Path


@dataclass(frozen=True, kw_only=True)
class Hook:
    """Something that `areal harness hook <id>` does at an event of the agent's session."""

    id: str
    event: str  # before_edit | after_edit
    description: str
    timeout_s: int


@dataclass(frozen=True, kw_only=True)
class Skill:
    """A folder with a `SKILL.md` under `.agents/skills`, the canonical copy that Codex and OpenCode read as it is."""

    name: str
    description: str
    body: str
    source: Path
    argument_hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the brief, in the order of the file names."""

    source: Path
    body: str


@dataclass(frozen=True)
class Sources:
    """All sources of one checkout."""

    tree: Tree
    config: dict[str, Any] = field(repr=False)
    experts: tuple[Expert, ...]
    rules: tuple[Rule, ...]
    hooks: tuple[Hook, ...]
    skills: tuple[Skill, ...]
    sections: tuple[Section, ...]


def expert_files(tree: Tree) -> list[Path]:
    """The sources of the experts, sorted."""
    return _on_disk(tree, EXPERTS_FOLDER, "*.md")


def rule_files(tree: Tree) -> list[Path]:
    """The sources of the rules, sorted."""
    return _on_disk(tree, RULES_FOLDER, "*.md")


def section_files(tree: Tree) -> list[Path]:
    """The sections of the brief in their order."""
    return _on_disk(tree, BRIEF_FOLDER, "*.md")


def skill_files(tree: Tree) -> list[Path]:
    """The `SKILL.md` of every skill, sorted."""
    return _on_disk(tree, SKILLS_FOLDER, "*/SKILL.md")


def _on_disk(tree: Tree, folder: Path, pattern: str) -> list[Path]:
    return sorted(path.relative_to(tree.root) for path in (tree.root / folder).glob(pattern))


@functools.lru_cache(maxsize=4)
def load_config(root: Path) -> dict[str, Any]:
    """`.agents/harness.yaml`: platforms, limits, what is scanned."""
    return read_yaml(root, CONFIG_FILE, "harness").data


def load_sources(tree: Tree) -> Sources:
    """Read and validate everything."""
    root = tree.root
    hooks = read_yaml(root, HOOKS_FILE, "hooks").data["hooks"]
    return Sources(
        tree=tree,
        config=load_config(root),
        experts=tuple(expert_of(read_markdown(root, path, "expert")) for path in expert_files(tree)),
        rules=tuple(rule_of(read_markdown(root, path, "rule")) for path in rule_files(tree)),
        hooks=tuple(Hook(**hook) for hook in hooks),
        skills=tuple(skill_of(read_markdown(root, path, "skill-frontmatter")) for path in skill_files(tree)),
        sections=tuple(Section(source=path, body=read_markdown(root, path).body) for path in section_files(tree)),
    )


def expert_of(document: Document) -> Expert:
    """The expert of a validated document."""
    data = document.data
    return Expert(
        name=data["name"],
        description=data["description"],
        access=data["access"],
        effort=data["effort"],
        covers=tuple(data.get("covers", ())),
        keywords=tuple(data.get("keywords", ())),
        body=document.body,
        source=document.path,
    )


def rule_of(document: Document) -> Rule:
    """The rule of a validated document."""
    data = document.data
    paths = tuple(data.get("paths", ()))
    return Rule(id=data["id"], title=data["title"], paths=paths, body=document.body, source=document.path)


def skill_of(document: Document) -> Skill:
    """The skill of a validated document."""
    data = document.data
    hint = data.get("metadata", {}).get("argument-hint", "")
    return Skill(
        name=data["name"],
        description=data["description"],
        body=document.body,
        source=document.path,
        argument_hint=hint,
    )
