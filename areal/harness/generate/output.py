# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A generated file: its text with a header that names the source, the source's hash and the hash of what follows.

The header tells a stale copy (its own hash fits, the source's does not) from one that was edited by hand (its own hash does
not fit). Called by the renderers, `areal harness build` and the drift check.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from areal.harness.core.errors import UsageProblem

HASH_DIGITS = 12
HEADER = re.compile(
    r"GENERATED from (?P<source>\S+) source:(?P<source_sha>[0-9a-f]{12}) text:(?P<text_sha>[0-9a-f]{12})"
)
HINT = "edit the source, then run: areal harness build"
PLACEHOLDER = "@HEADER@"


@dataclass(frozen=True)
class Generated:
    """A file to write, relative to the root, with the text it must have."""

    path: Path
    text: str
    source: Path
    platform: str


def digest(*texts: str) -> str:
    """The first digits of a SHA-256 over texts."""
    sha = hashlib.sha256()
    for text in texts:
        sha.update(text.encode() + b"\0")
    return sha.hexdigest()[:HASH_DIGITS]


def with_header(path: str, template: str, source: Path, source_sha: str, platform: str) -> Generated:
    """Put the header where `template` has `@HEADER@` (once); its text hash covers everything else."""
    before, mark, after = template.partition(PLACEHOLDER)
    assert mark, f"the template of {path} has no {PLACEHOLDER}"
    text_sha = digest(before, after)
    header = f"GENERATED from {source.as_posix()} source:{source_sha} text:{text_sha}; {HINT}"
    return Generated(Path(path), before + header + after, source, platform)


@dataclass(frozen=True)
class Stamp:
    """What a header says, and whether the text around it is still what was generated."""

    source: str
    source_sha: str
    untouched: bool


def read_stamp(text: str) -> Stamp | None:
    """The stamp of a generated text; None for a file without one."""
    match = HEADER.search(text)
    if match is None:
        return None
    end = text.find(HINT, match.end())
    after = text[end + len(HINT) :] if end >= 0 else ""
    untouched = digest(text[: match.start()], after) == match["text_sha"]
    return Stamp(match["source"], match["source_sha"], untouched)


def write(root: Path, generated: list[Generated], dry_run: bool) -> list[str]:
    """Write the files whose text differs; the paths that changed."""
    changed = []
    for item in generated:
        target = root / item.path
        if target.is_symlink():
            raise UsageProblem(f"{item.path} is a symbolic link; remove it", code="link", file=str(item.path))
        if target.is_file() and target.read_bytes() == item.text.encode():
            continue
        changed.append(item.path.as_posix())
        if not dry_run:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(item.text.encode())
    return changed
