# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Whether what the platforms read is what the sources give now (H001), untouched by hand and without strays (H002)."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from areal.harness.core.findings import Finding, Fix
from areal.harness.generate.output import Generated, read_stamp
from areal.harness.generate.plan import orphans
from areal.harness.generate.sources import Sources

BUILD = Fix(kind="run", command="areal harness build")


def check_drift(sources: Sources, generated: list[Generated]) -> Iterator[Finding]:
    """One finding for each file that `areal harness build` would change or remove."""
    for item in generated:
        target = sources.tree.root / item.path
        if not target.is_file():
            message = f"is missing; {item.source.as_posix()} generates it. Run: areal harness build"
            yield Finding(code="H001", message=message, file=item.path.as_posix(), fix=BUILD)
            continue
        text = target.read_bytes().decode("utf-8", errors="replace")
        if text != item.text:
            yield _difference(item, text)
    for path in orphans(sources, generated):
        message = "no source generates it; remove it, or list its folder under hand_written in .agents/harness.yaml"
        yield Finding(code="H002", message=message, file=path.as_posix())


def _difference(item: Generated, text: str) -> Finding:
    old, new = text.splitlines(), item.text.splitlines()
    line = next(
        (number for number, pair in enumerate(zip(old, new, strict=False), 1) if pair[0] != pair[1]),
        min(len(old), len(new)) + 1,
    )
    changed = (
        sum(mark[0] in "+-" for mark in difflib.ndiff(old, new))
        if max(len(old), len(new)) < 400
        else abs(len(old) - len(new)) or 1
    )
    stamp = read_stamp(text)
    file, source = item.path.as_posix(), item.source.as_posix()
    if stamp is None or not stamp.untouched:
        message = f"was edited by hand; move the edit to {source}, then run: areal harness build"
        return Finding(code="H002", message=message, file=file, line=line, fix=BUILD)
    message = f"{changed} lines differ from what {source} gives now. Run: areal harness build"
    return Finding(code="H001", message=message, file=file, line=line, fix=BUILD)
