# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A pull request, prepared from the commits: title, description from the template, checks, and the commands that open it.

Nothing is pushed here: the plan is printed, and `areal pr --open` runs its commands where there is a `gh`.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from areal.harness.commits.message import HEADER, check_message, clean, infer
from areal.harness.commits.scopes import load_scopes
from areal.harness.commits.staged import between
from areal.harness.core.errors import UsageProblem
from areal.harness.core.findings import Finding
from areal.harness.review.analysis import Review, review_change
from areal.harness.review.change import Change
from areal.harness.review.repository import MAIN_BRANCHES, branch_name, dirty_files

if TYPE_CHECKING:
    from git import Commit, Repo

TEMPLATE = Path(".github/PULL_REQUEST_TEMPLATE.md")
BODY_FILE = Path("build/pull-request.md")
"""Where the description is written for the command that opens the pull request; git ignores the folder."""
SECTION = "<!-- {name} -->"
TYPE_TITLES = {
    "feat": "Feature",
    "fix": "Bug fix",
    "perf": "Performance",
    "refactor": "Refactoring",
    "docs": "Documentation",
    "test": "Tests",
    "build": "Build or dependencies",
    "ci": "Continuous integration",
}


@dataclass(frozen=True)
class PullRequest:
    """Everything that a pull request consists of."""

    title: str
    body: str
    branch: str
    base: str
    commands: tuple[str, ...]
    review: Review


def prepare(repo: Repo, root: Path, change: Change, base: str, title: str = "") -> tuple[PullRequest, list[Finding]]:
    """Draft the pull request of the checked-out branch; its findings are those of its messages and of the review."""
    branch = _branch(repo)
    commits = list(repo.iter_commits(f"{change.base.commit.hexsha}..HEAD", no_merges=True))
    if not commits:
        message = f"{branch} has no commit that {base} lacks"
        raise UsageProblem(message, code="nothing_to_propose", next_action="git commit, then: areal pr")
    scopes = load_scopes(root)
    findings = [found for commit in commits for found in _message_findings(root, commit)]
    total = between(root, change.base.commit.hexsha, "HEAD")
    if not title:
        inferred = infer(scopes, total.lines, total.added)
        title = _subject(commits[0]) if len(commits) == 1 else _common_title(commits, inferred.header)
    findings += check_message(title, scopes, total.lines)
    review = review_change(change, root)
    findings += review.checks
    remote = base.split("/")[0] if "/" in base else "origin"
    target = base.split("/", 1)[1] if "/" in base else base
    body = _fill((root / TEMPLATE).read_text(encoding="utf-8"), title, commits, review)
    commands = (
        f"git push --set-upstream {remote} {branch}",
        f"gh pr create --base {target} --head {branch} --title {shlex.quote(title)} --body-file {BODY_FILE}",
    )
    return PullRequest(title, body, branch, target, commands, review), findings


def _branch(repo: Repo) -> str:
    branch = branch_name(repo)
    if branch is None:
        message = "HEAD is detached; a pull request needs a branch"
        raise UsageProblem(message, code="detached_head", next_action="git switch -c NAME")
    if branch in MAIN_BRANCHES:
        message = f"{branch} is checked out; a pull request needs a branch of its own"
        raise UsageProblem(message, code="on_main", next_action="git switch -c NAME")
    if dirty := dirty_files(repo):
        message = f"{len(dirty)} files have changes that are in no commit: {', '.join(dirty[:5])}"
        raise UsageProblem(message, code="dirty_tree", next_action="git commit, or git stash", files=dirty)
    return branch


def _message_findings(root: Path, commit: Commit) -> list[Finding]:
    lines = between(root, commit.parents[0].hexsha, commit.hexsha).lines  # it has one: the merge base is behind it
    found = check_message(str(commit.message), load_scopes(root), lines)
    return [
        Finding(
            code=f.code, message=f"{commit.hexsha[:9]}: {f.message}", hint=f.hint, severity="warning", extra=f.extra
        )
        for f in found
    ]


def _subject(commit: Commit) -> str:
    return clean(str(commit.message)).split("\n")[0]


def _common_title(commits: list[Commit], header: str) -> str:
    """The subject of the first commit (it began the work) under the scope of the whole."""
    match = HEADER.fullmatch(_subject(commits[-1]))
    kind = next((m["type"] for c in commits if (m := HEADER.fullmatch(_subject(c))) and m["type"] == "feat"), None)
    kind = kind or (match["type"] if match else header.split("(")[0].rstrip(": "))
    scope = re.search(r"\(.*\)", header)
    return f"{kind}{scope[0] if scope else ''}: {match['subject'] if match else _subject(commits[-1])}"


def _fill(template: str, title: str, commits: list[Commit], review: Review) -> str:
    """The template with its marked sections filled in; what a program cannot know stays for people."""
    messages = [clean(str(commit.message)).split("\n\n", 1) for commit in reversed(commits)]
    summary = "\n".join(f"- {message[0]}" for message in messages)
    details = "\n\n".join(message[1] for message in messages if len(message) > 1)
    tests = "\n".join(f"pytest {path}" for path in review.suggested_tests[:10])
    findings = "\n".join(f"- {f.code} {f.place}: {f.message}" for f in review.checks) or "- none"
    risk = f"Risk {review.risk}: {'; '.join(review.reasons)}"
    passes = ", ".join(f"{item.template} ({item.expert}, {item.depth})" for item in review.passes)
    sections = {
        "summary": summary + (f"\n\n{details}" if details else ""),
        "tests": f"```bash\n{tests}\n```" if tests else "No test belongs to these files.",
        "review": f"{risk}\n\nPasses: {passes or 'none'}\n\nFindings of `areal review`:\n\n{findings}",
    }
    for name, text in sections.items():
        template = template.replace(SECTION.format(name=name), text)
    match = HEADER.fullmatch(title)
    wanted = TYPE_TITLES.get(match["type"] if match else "", "")
    return template.replace(f"- [ ] {wanted}\n", f"- [x] {wanted}\n") if wanted else template
