# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Limits of the platforms (H012), duplicate skills (H030), and what no expert, domain or scope covers (H040, H041)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from areal.harness.core.documents import read_yaml
from areal.harness.core.findings import Finding
from areal.harness.core.tree import Tree, translate_glob
from areal.harness.generate.output import Generated
from areal.harness.generate.plan import BRIEF
from areal.harness.generate.sources import Sources

SKILL_FOLDERS = (".agents/skills", ".claude/skills", ".opencode/skill", ".opencode/skills", ".codex/skills")
DOMAINS = Path(".agents/domains.yaml")
SCOPES = Path(".agents/scopes.yaml")


def check_limits(sources: Sources, generated: list[Generated]) -> Iterator[Finding]:
    """Sizes and counts that a platform cuts or refuses."""
    limits = sources.config["limits"]
    brief = next(item for item in generated if item.path.as_posix() == BRIEF)
    num_bytes = len(brief.text.encode())
    for name, who in (
        ("brief_bytes_codex", "Codex stops there"),
        ("brief_bytes", "briefs of subfolders must fit beside it"),
    ):
        if num_bytes > limits[name]:
            message = f"{BRIEF} has {num_bytes} bytes, at most {limits[name]} ({who})"
            yield Finding(code="H012", message=message, file=brief.source.as_posix())
            break
    for skill in sources.skills:
        file = skill.source.as_posix()
        num_lines = sources.tree.text(file).count("\n")
        if num_lines > limits["skill_lines"]:
            yield Finding(code="H012", message=f"has {num_lines} lines, at most {limits['skill_lines']}", file=file)
        if len(skill.description) > limits["skill_description_chars"]:
            message = (
                f"the description has {len(skill.description)} characters, at most {limits['skill_description_chars']}"
            )
            yield Finding(code="H012", message=message, file=file, line=2)
    total = sum(len(skill.name) + len(skill.description) for skill in sources.skills)
    if total > limits["all_descriptions_chars"]:
        message = f"names and descriptions of all skills have {total} characters, Codex shows {limits['all_descriptions_chars']}"
        yield Finding(code="H012", message=message, file=".agents/skills")


def check_duplicates(tree: Tree) -> Iterator[Finding]:
    """Skills that a platform could load from two places."""
    homes: dict[str, list[str]] = {}
    for folder in SKILL_FOLDERS:
        for found in sorted((tree.root / folder).glob("*/SKILL.md")):
            homes.setdefault(found.parent.name, []).append(found.relative_to(tree.root).as_posix())
    for name, paths in homes.items():
        if len(paths) > 1:
            message = f"skill {name!r} is also in {', '.join(paths[:-1])}; OpenCode then loads either at random"
            yield Finding(code="H030", message=message, file=paths[-1])


def check_coverage(sources: Sources) -> Iterator[Finding]:
    """Globs of experts that match nothing, packages that no expert covers, files without a domain or a scope."""
    tree = sources.tree
    patterns = []
    for expert in sources.experts:
        for pattern in expert.covers:
            patterns.append(translate_glob(pattern))
            if not tree.matching(pattern):
                message = f"covers: {pattern} matches no file"
                yield Finding(
                    code="H040",
                    message=message,
                    file=expert.source.as_posix(),
                    line=_line(sources, expert.source, pattern),
                )
    packages = {name.split("/")[1] for name in tree.files if name.startswith("areal/") and name.count("/") > 1}
    for package in sorted(packages):
        files = [name for name in tree.files if name.startswith(f"areal/{package}/") and name.endswith(".py")]
        if files and not any(pattern.match(name) for pattern in patterns for name in files):
            yield Finding(code="H040", message=f"areal/{package}/ is covered by no expert", file=".agents/experts")
    yield from _uncovered(tree, DOMAINS, "review domain", _domain_globs)
    yield from _uncovered(tree, SCOPES, "commit scope", _scope_globs)


def _line(sources: Sources, source: Path, pattern: str) -> int:
    lines = sources.tree.text(source.as_posix()).splitlines()
    return next((number for number, line in enumerate(lines, 1) if pattern in line), 0)


def _domain_globs(data: Any) -> list[str]:
    return [path for domain in data["domains"] for signal in domain["signals"] for path in signal.get("paths", ())]


def _scope_globs(data: Any) -> list[str]:
    return [path for scope in data["scopes"] for path in scope["paths"]]


def _uncovered(tree: Tree, source: Path, what: str, globs: Any) -> Iterator[Finding]:
    if not (tree.root / source).is_file():
        return
    patterns = [translate_glob(glob) for glob in globs(read_yaml(tree.root, source).data)]
    for name in tree.files:
        if name.startswith("areal/") and not any(pattern.match(name) for pattern in patterns):
            yield Finding(code="H041", message=f"{name} has no {what}", file=source.as_posix())
