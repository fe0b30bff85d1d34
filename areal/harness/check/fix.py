# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal harness check --fix`: writes the replacements that leave no choice, and rebuilds the copies."""

from __future__ import annotations

import re
from pathlib import Path

from areal.harness.core.findings import Finding
from areal.harness.core.tree import Tree
from areal.harness.generate.output import write
from areal.harness.generate.plan import all_generated
from areal.harness.generate.sources import load_sources


def apply_fixes(root: Path, findings: list[Finding]) -> list[str]:
    """Mend what can be mended; a line for each thing that was done. Hand edits of generated files are never thrown away."""
    done = []
    for finding in findings:
        fix = finding.fix
        if (
            fix is not None
            and fix.kind == "replace"
            and finding.line
            and _replace(root / finding.file, finding.line, fix.old, fix.new)
        ):
            done.append(f"{finding.place}: {fix.old} -> {fix.new}")
    edited = {finding.file for finding in findings if finding.code == "H002"}
    if done or any(finding.code == "H001" for finding in findings):
        generated = [item for item in all_generated(load_sources(Tree(root))) if item.path.as_posix() not in edited]
        done += [f"{path}: generated" for path in write(root, generated, dry_run=False)]
    return done


def _replace(path: Path, line: int, old: str, new: str) -> bool:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    word = re.compile(rf"(?<![\w./-]){re.escape(old)}(?![\w-])")
    replaced, count = word.subn(lambda match: new, lines[line - 1])
    if count == 0:
        return False
    lines[line - 1] = replaced
    path.write_text("".join(lines), encoding="utf-8")
    return True
