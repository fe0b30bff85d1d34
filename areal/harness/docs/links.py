# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Links of Markdown pages that lead nowhere (D005): files of the repository and anchors of pages. Asks no network."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

from areal.harness.core.findings import Finding
from areal.harness.docs.pages import Page


def check_links(root: Path, pages: Iterable[str]) -> Iterator[Finding]:
    """Every dead link of some pages (paths relative to the root)."""
    cache: dict[str, Page] = {}
    for name in pages:
        for link in _page(root, name, cache).links:
            target, _, anchor = unquote(link.text).partition("#")
            if "://" in target or target.startswith("mailto:"):
                continue
            place = posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) if target else name
            if place.startswith("..") or not (root / place).exists():
                message = f"{link.text} leads nowhere ({place} does not exist)"
                yield Finding(code="D005", message=message, file=name, line=link.line)
            elif anchor and place.endswith(".md") and anchor not in _page(root, place, cache).anchors:
                message = f"{link.text}: {place} has no heading with the anchor #{anchor}"
                yield Finding(code="D005", message=message, file=name, line=link.line)


def _page(root: Path, name: str, cache: dict[str, Page]) -> Page:
    if name not in cache:
        cache[name] = Page((root / name).read_text(encoding="utf-8", errors="replace"))
    return cache[name]


def linked_pages(root: Path) -> list[str]:
    """The pages that are checked: documentation, examples, and what lies at the top."""
    found = [*root.glob("*.md"), *(root / "docs").rglob("*.md"), *(root / "examples").rglob("*.md")]
    return sorted(path.relative_to(root).as_posix() for path in found)
