# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A throw-away copy of the working tree, in which a skill does everything before the tree itself changes.

The copy holds what git tracks and what is new and not ignored, so that it is the tree as it stands; it is a git repository
of its own with one commit. What a skill wrote is the difference of the copy before and after.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from areal.harness.core.tree import Tree

MAX_UNTRACKED_BYTES = 4 << 20  # a larger new file is data that lies about, not source
CACHES = {"__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis", ".import_linter_cache", ".git", "runs", ".venv"}
GIT_TIMEOUT_S = 60
IDENTITY = ("-c", "user.name=areal skill", "-c", "user.email=skill@localhost", "-c", "commit.gpgsign=false")


@dataclass(frozen=True)
class Change:
    """A file that a skill created or edited, with both texts as bytes (`before` None: created)."""

    path: str
    before: bytes | None
    after: bytes


@contextlib.contextmanager
def staged(root: Path) -> Iterator[Path]:
    """A copy of the tree in a temporary folder that goes away at the end."""
    with tempfile.TemporaryDirectory(prefix="areal-skill-") as folder:
        stage = Path(folder).resolve() / "tree"
        stage.mkdir()
        copy_tree(root, stage)
        yield stage


def copy_tree(root: Path, stage: Path) -> None:
    """Copy the tracked and the new files; make the copy a repository where git is installed."""
    for name in _source_files(root):
        target = stage / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, target, follow_symlinks=False)
    git(stage, "init", "--quiet", "--initial-branch=main")
    git(stage, "add", "--all", "--force")
    git(stage, *IDENTITY, "commit", "--quiet", "--no-verify", "--message=the tree as it was")


def _source_files(root: Path) -> list[str]:
    listed = git(root, "ls-files", "--others", "--exclude-standard", "-z")
    new = [name for name in (listed or "").split("\0") if name and not CACHES.intersection(name.split("/"))]
    small = [name for name in new if (root / name).is_file() and (root / name).stat().st_size <= MAX_UNTRACKED_BYTES]
    return sorted({*Tree(root).files, *small})


def git(folder: Path, *arguments: str) -> str | None:
    """The output of a git command in a folder; None when it failed or git is not there."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
            env=git_environment(),
        )
    except FileNotFoundError:
        return None
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else None


def git_environment() -> dict[str, str]:
    """The environment without variables that would point git at another repository (inside a git hook they are set)."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def snapshot(folder: Path) -> dict[str, str]:
    """Hash of every file below a folder that is no cache; a link counts by where it points."""
    found = {}
    for path in _walk(folder):
        full = folder / path
        data = full.readlink().as_posix().encode() if full.is_symlink() else full.read_bytes()
        found[path] = hashlib.sha256(data).hexdigest()
    return found


def _walk(folder: Path) -> Iterator[str]:
    for where, names, files in os.walk(folder):
        names[:] = [name for name in names if name not in CACHES and not name.endswith(".egg-info")]
        yield from ((Path(where) / name).relative_to(folder).as_posix() for name in files if not name.endswith(".pyc"))


def changes_since(root: Path, stage: Path, before: dict[str, str]) -> tuple[list[Change], list[str]]:
    """What differs from a snapshot of the stage: created and edited files, and the paths that are gone."""
    after = snapshot(stage)
    changed = sorted(path for path, sha in after.items() if before.get(path) != sha)
    gone = sorted(path for path in before if path not in after)
    made = [
        Change(path, (root / path).read_bytes() if path in before else None, (stage / path).read_bytes())
        for path in changed
    ]
    return made, gone
