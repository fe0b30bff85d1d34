# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Every source and every generated file against its schema (H010), and names against their files (H011)."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from areal.harness.core.documents import (
    FRONT_MATTER,
    SCHEMA_FOLDER,
    Document,
    check_data,
    parse_yaml,
    read_markdown,
    read_yaml,
    violations,
)
from areal.harness.core.errors import UsageProblem
from areal.harness.core.findings import Finding
from areal.harness.core.tree import Tree
from areal.harness.generate import sources
from areal.harness.generate.output import Generated

# Which schema a generated file must satisfy; the first pattern that matches decides.
OUTPUT_SCHEMAS = (
    (re.compile(r"\.claude/agents/.*\.md"), "claude-agent"),
    (re.compile(r"\.claude/rules/.*\.md"), "claude-rule"),
    (re.compile(r"\.claude/commands/.*\.md"), "claude-command"),
    (re.compile(r"\.claude/settings\.json"), "claude-settings"),
    (re.compile(r"\.codex/agents/.*\.toml"), "codex-role"),
    (re.compile(r"\.codex/hooks\.json"), "codex-hooks"),
    (re.compile(r"\.opencode/agents/.*\.md"), "opencode-agent"),
)
# Sources that other parts of the harness own; checked when the file and its schema are there.
OPTIONAL_SOURCES = (
    (".agents/domains.yaml", "domains"),
    (".agents/scopes.yaml", "scopes"),
    (".agents/skills/*/skill.yaml", "skill"),
    ("checklists/*.yaml", "api"),
)


def check_sources(tree: Tree) -> Iterator[Finding]:
    """Everything that is wrong with the form of the sources; a file that cannot be read is one finding."""
    yield from _yaml_source(tree, sources.CONFIG_FILE, "harness")
    yield from _yaml_source(tree, sources.HOOKS_FILE, "hooks")
    for path in sources.expert_files(tree):
        yield from _named_source(tree, path, "expert", "name", path.stem)
    for path in sources.rule_files(tree):
        yield from _named_source(tree, path, "rule", "id", path.stem)
    for path in sources.skill_files(tree):
        yield from _named_source(tree, path, "skill-frontmatter", "name", path.parent.name)
    for pattern, schema in OPTIONAL_SOURCES:
        if (tree.root / SCHEMA_FOLDER / f"{schema}.schema.json").is_file():
            for found in sorted(tree.root.glob(pattern)):
                yield from _yaml_source(tree, found.relative_to(tree.root), schema)


def _yaml_source(tree: Tree, path: Path, schema: str) -> list[Finding]:
    return _guarded(path, lambda: violations(tree.root, read_yaml(tree.root, path), schema))


def _named_source(tree: Tree, path: Path, schema: str, key: str, expected: str) -> list[Finding]:
    def check() -> list[Finding]:
        document = read_markdown(tree.root, path)
        found = violations(tree.root, document, schema)
        return found + _name_finding(document, key, expected)

    return _guarded(path, check)


def _name_finding(document: Document, key: str, expected: str) -> list[Finding]:
    name = document.data.get(key) if isinstance(document.data, dict) else None
    if name is None or name == expected:
        return []
    message = f"{key} is {name!r}, but its place says {expected!r}"
    return [Finding(code="H011", message=message, file=document.path.as_posix(), line=document.line_of(key))]


def _guarded(path: Path, check: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return check()
    except UsageProblem as problem:
        line = problem.details.get("line", 0)
        return [Finding(code="H010", message=problem.message, file=path.as_posix(), line=line)]


def check_outputs(root: Path, generated: list[Generated]) -> Iterator[Finding]:
    """What we would write, against the schema of the platform that reads it."""
    for item in generated:
        schema = next((name for pattern, name in OUTPUT_SCHEMAS if pattern.fullmatch(item.path.as_posix())), None)
        if schema is not None:
            yield from check_data(root, _parsed(item), item.path, schema)


def _parsed(item: Generated) -> Any:
    if item.path.suffix == ".json":
        return json.loads(item.text)
    if item.path.suffix == ".toml":
        return tomllib.loads(item.text)
    match = FRONT_MATTER.match(item.text)
    return parse_yaml(match.group(1) or "", item.path) if match else {}
