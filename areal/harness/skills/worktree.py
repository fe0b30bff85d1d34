# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A git worktree with a branch of its own for one skill run, beside the tree that people work in."""

from __future__ import annotations

import secrets
from pathlib import Path

from areal.harness.core.errors import MissingTool
from areal.harness.skills.problems import Conflict
from areal.harness.skills.stage import git

FOLDER = Path("runs/worktrees")


def add_worktree(root: Path, skill: str) -> Path:
    """Make `runs/worktrees/SKILL-xxxx` at HEAD on the branch `skill/SKILL-xxxx`; its path."""
    if git(root, "rev-parse", "--git-dir") is None:
        raise MissingTool("--worktree needs git and a repository", code="S043", next_action="run it without --worktree")
    if git(root, "rev-parse", "--verify", "--quiet", "HEAD") is None:
        raise Conflict(
            "--worktree needs a commit to start from", code="S011", next_action="commit once, then run it again"
        )
    name = f"{skill}-{secrets.token_hex(2)}"
    folder = root / FOLDER / name
    if git(root, "worktree", "add", "--quiet", "-b", f"skill/{name}", str(folder), "HEAD") is None:
        raise Conflict(f"git could not make a worktree at {folder}", code="S011", next_action="git worktree prune")
    return folder
