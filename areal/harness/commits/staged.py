# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The files of the commit that is being made, or between two commits, with their numbers of changed lines.

Asks git itself, because the commit-msg hook runs at every commit and must not wait for a library to load.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from areal.harness.core.errors import MissingTool

GIT_TIMEOUT_S = 30


@dataclass(frozen=True)
class Staged:
    """Changed lines of each file, and which files are new."""

    lines: dict[str, int]
    added: frozenset[str]


def staged(root: Path) -> Staged:
    """What the index holds over HEAD."""
    return _read(root, "--cached")


def between(root: Path, base: str, head: str) -> Staged:
    """What `head` holds over `base`, two commits or trees."""
    return _read(root, base, head)


def _read(root: Path, *which: str) -> Staged:
    counted = _git(root, "diff", "--numstat", "--no-renames", "-z", *which).split("\0")
    fields = [entry.split("\t") for entry in counted if entry.count("\t") == 2]
    lines = {path: _number(added) + _number(removed) for added, removed, path in fields}
    new = _git(root, "diff", "--name-only", "--no-renames", "--diff-filter=A", "-z", *which).split("\0")
    return Staged(lines, frozenset(path for path in new if path))


def _git(root: Path, *args: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *args], capture_output=True, timeout=GIT_TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise MissingTool("git is not installed or not on PATH", code="no_git", next_action="install git") from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()[:1]
        message = f"{root} is not in a git repository, so there is no change to look at ({''.join(reason)[:120]})"
        raise MissingTool(message, code="no_repository", next_action="git clone the project, or git init")
    return done.stdout.decode("utf-8", "surrogateescape")


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 1  # a binary file has no lines
