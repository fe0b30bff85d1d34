# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Scans the texts of the harness for references that lead nowhere: H020 to H024.

Called by `areal harness check` and by `areal harness eval`. Which texts are scanned is `scan` of `.agents/harness.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from areal.harness.core.findings import Finding
from areal.harness.core.tree import Tree, translate_glob
from areal.harness.generate.sources import AGENTS
from areal.harness.refs.commands import check_command, check_extras, check_name, is_command
from areal.harness.refs.facts import Facts
from areal.harness.refs.names import check_identifier, check_python
from areal.harness.refs.paths import as_path, check_link, check_path, is_placeholder
from areal.harness.refs.texts import Mention, mentions

NO_LINE_NUMBERS = (".agents/", "checklists/")  # elsewhere a line number may be the output of a program


@dataclass(frozen=True)
class Scan:
    """What a scan found and how much it looked at."""

    findings: list[Finding]
    num_files: int
    num_refs: int


def facts_of(tree: Tree, config: Mapping[str, Any]) -> Facts:
    """The facts of a tree with the exceptions of its configuration."""
    return Facts(tree, config.get("ignored_paths", ()), config.get("known_words", ()))


def scanned_files(tree: Tree, config: Mapping[str, Any]) -> list[str]:
    """The texts that are scanned."""
    on_disk = (path for path in (tree.root / AGENTS).rglob("*") if path.is_file())
    new = [path.relative_to(tree.root).as_posix() for path in on_disk]  # also before `git add`
    patterns = [translate_glob(pattern) for pattern in config["scan"]]
    names = {name for name in (*tree.files, *new) if any(pattern.match(name) for pattern in patterns)}
    return sorted(name for name in names if name.endswith((".md", ".yaml", ".yml")))


def scan(tree: Tree, config: Mapping[str, Any], facts: Facts | None = None) -> Scan:
    """Check every reference of every scanned text."""
    facts = facts or facts_of(tree, config)
    findings: list[Finding] = []
    num_refs = 0
    files = scanned_files(tree, config)
    for name in files:
        found, count = scan_text(name, tree.text(name), facts)
        findings += found
        num_refs += count
    return Scan(findings, len(files), num_refs)


def scan_text(name: str, text: str, facts: Facts) -> tuple[list[Finding], int]:
    """The dead references of one text, and the number of references looked at."""
    found: dict[tuple[str, int, str], Finding] = {}
    count = 0
    checked: dict[tuple[str, str], list[Finding]] = {}
    for mention in mentions(name, text):
        count += 1
        key = mention.kind, mention.text
        if key not in checked:
            checked[key] = list(_check(mention, name, text, facts))
        for finding in checked[key]:
            placed = replace(finding, line=mention.line)
            found.setdefault((placed.code, placed.line, placed.message), placed)
    return list(found.values()), count


def _check(mention: Mention, base: str, whole: str, facts: Facts) -> Iterator[Finding]:
    text = mention.text
    if mention.kind == "link":
        yield from check_link(text, base, whole, facts)
    elif mention.kind in ("skill", "expert", "rule"):
        yield from check_name(mention.kind, text, base, facts)
    elif mention.kind == "line_number":
        if base.startswith(NO_LINE_NUMBERS):
            message = f'{text}: line numbers move; name the symbol, as in {{{{ ref("path.py", "symbol") }}}}'
            yield Finding(code="H024", message=message, file=base)
    elif mention.kind == "shell":
        yield from check_command(text, base, facts)
    elif mention.kind == "python":
        yield from check_python(text, base, facts)
    elif mention.kind == "value":
        if as_path(text, facts) or "#" in text:
            yield from check_path(text, base, facts)
        elif text.split(".")[0] in facts.symbols.top_packages and "." in text and not is_placeholder(text):
            yield from check_identifier(text, base, facts)
    else:
        yield from _check_code(text, base, facts)


def _check_code(text: str, base: str, facts: Facts) -> Iterator[Finding]:
    if is_command(text):
        yield from check_command(text, base, facts)
        return
    yield from check_extras(f" {text}", base, facts)
    if text.startswith("areal[") or "pytest.mark." in text:
        return
    if as_path(text.partition(":")[0].partition("#")[0], facts):
        yield from check_path(text, base, facts)
    elif not is_placeholder(text):
        yield from check_identifier(text, base, facts)
