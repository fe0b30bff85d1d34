# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Opens the git repository for the commands that read history: review, commit-msg, pr, docs sync.

Everything that can be wrong with a repository (no git, no repository, no commit, unknown revision, shallow history) ends here
in a message with its own exit code. Never writes to the repository.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from areal.harness.core.errors import DecisionNeeded, MissingTool, UsageProblem

if TYPE_CHECKING:
    from git import Commit, Repo

MAIN_BRANCHES = ("main", "origin/main", "upstream/main", "master", "origin/master")


def open_repository(root: Path) -> Repo:
    """The repository that contains a folder, with at least one commit."""
    if shutil.which(os.environ.get("GIT_PYTHON_GIT_EXECUTABLE", "git")) is None:
        raise MissingTool("git is not installed or not on PATH", code="no_git", next_action="install git")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import git

    try:
        repo = git.Repo(root, search_parent_directories=True)
    except (git.InvalidGitRepositoryError, git.NoSuchPathError):
        message = f"{root} is not in a git repository, so there is no change to look at"
        raise MissingTool(message, code="no_repository", next_action="git clone the project, or git init") from None
    if repo.bare:
        raise UsageProblem(f"{root} is a bare repository without files", code="bare_repository")
    if not repo.head.is_valid():
        raise UsageProblem("the repository has no commit yet", code="no_commits", next_action="git commit")
    return repo


def resolve(repo: Repo, revision: str) -> Commit:
    """The commit of a revision; an unknown one lists the branches."""
    import gitdb.exc
    from git import GitCommandError

    try:
        commit = repo.commit(revision)
        _ = commit.tree.hexsha  # a shallow clone knows the names of commits that it does not hold
        return commit
    except (ValueError, IndexError, GitCommandError, gitdb.exc.ODBError):
        names = sorted(branch.name for branch in repo.branches)
        hint = " (a shallow clone holds only part of the history)" if is_shallow(repo) else ""
        message = f"no commit {revision!r} in this repository{hint}"
        raise DecisionNeeded(message, code="unknown_revision", choices=names) from None


def default_base(repo: Repo) -> str:
    """The first of the usual names of the main branch that exists."""
    known = {ref.name for ref in repo.refs}
    for name in MAIN_BRANCHES:
        if name in known:
            return name
    raise DecisionNeeded(
        f"none of {', '.join(MAIN_BRANCHES)} exists here; say what the change is compared with",
        code="no_base",
        choices=sorted(known),
        next_action="areal review --base REVISION",
    )


def merge_base(repo: Repo, base: Commit, head: Commit) -> Commit:
    """The commit at which a change left its base."""
    found = repo.merge_base(base, head)
    if found:
        return found[0]
    if is_shallow(repo):
        message = "this clone is shallow and does not hold the common ancestor of base and head"
        raise MissingTool(message, code="shallow", next_action="git fetch --unshallow")
    raise UsageProblem(f"{base.hexsha[:9]} and {head.hexsha[:9]} have no common ancestor", code="unrelated")


def is_shallow(repo: Repo) -> bool:
    """Whether history was cut off when the repository was cloned."""
    return (Path(repo.common_dir) / "shallow").is_file()


def branch_name(repo: Repo) -> str | None:
    """The checked-out branch; None with a detached head."""
    return None if repo.head.is_detached else repo.active_branch.name


def dirty_files(repo: Repo) -> list[str]:
    """Tracked files with changes that are in no commit."""
    listed = repo.git.status("--porcelain", "-z", "--untracked-files=no")
    return sorted(entry[3:] for entry in listed.split("\0") if len(entry) > 3)
