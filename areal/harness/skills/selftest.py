# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the examples of skills in throw-away copies, and checks what holds for every skill.

For a skill that writes: the run succeeds, a second run of the same inputs is refused and changes nothing, undoing brings
back every byte. For a command: its exit code and output are those that the example declares.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from areal.harness.core.errors import HarnessError, MissingTool, UsageProblem
from areal.harness.skills import journal
from areal.harness.skills.definition import Definition, Example, load_definition, skill_names
from areal.harness.skills.planning import make_plan
from areal.harness.skills.problems import Conflict
from areal.harness.skills.runner import dry_run, run_skill, verify_skill
from areal.harness.skills.stage import git, snapshot, staged
from areal.harness.skills.steps import file_lists, run_command

RUNNER = ("areal/harness/skills/", "areal/cli/skill.py", "areal/cli/envelope.py", "areal/harness/core/")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One example of one skill, run."""

    skill: str
    example: int
    command: str
    seconds: float
    problem: str = ""
    code: str = ""

    @property
    def passed(self) -> bool:
        """Whether everything held."""
        return not self.problem


def chosen_skills(
    root: Path, names: Sequence[str], changed_since: str | None, costly: bool = False
) -> list[Definition]:
    """The skills to test: those named, or those that changes since a git reference touch, or all."""
    found = [load_definition(root, name) for name in (names or skill_names(root))]
    if changed_since is not None:
        changed = changed_files(root, changed_since)
        if not any(name.startswith(RUNNER) for name in changed):
            found = [definition for definition in found if definition.touched_by(changed)]
    return [definition for definition in found if names or costly or not definition.costly]


def changed_files(root: Path, reference: str) -> list[str]:
    """Files that differ between the merge base with a reference and the working tree, new files included."""
    if git(root, "rev-parse", "--git-dir") is None:
        raise UsageProblem("--changed-since needs git and a repository", code="no_git")
    if reference.startswith("-") or git(root, "rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}") is None:
        raise UsageProblem(f"--changed-since: git knows no commit {reference!r}", code="unknown_reference")
    base = git(root, "merge-base", reference, "HEAD")
    listed = git(root, "diff", "--name-only", "-z", (base or reference).strip())
    new = git(root, "ls-files", "--others", "--exclude-standard", "-z")
    return sorted({name for name in f"{listed or ''}\0{new or ''}".split("\0") if name})


def run_trials(root: Path, definitions: Sequence[Definition], jobs: int = 1) -> list[Trial]:
    """Every example of these skills, `jobs` at a time, in order."""
    if shutil.which("git") is None:
        message = "examples run in throw-away repositories: git is not installed or not on PATH"
        raise MissingTool(message, code="no_git", next_action="install git")
    work = [
        (definition, index, example)
        for definition in definitions
        for index, example in enumerate(definition.examples, 1)
    ]
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        return list(pool.map(lambda item: run_trial(root, *item), work))


def run_trial(root: Path, definition: Definition, index: int, example: Example) -> Trial:
    """One example in a copy of the tree."""
    started = time.monotonic()
    problem, code, command = "", "", f"areal skill run {definition.name}"
    with staged(root) as copy:
        try:
            command = make_plan(copy, definition, example.inputs).command("run")
            problem = _try_command(copy, definition, example) if definition.kind == "command" else ""
            problem = problem or (_try_change(copy, definition, example) if definition.kind == "change" else "")
        except HarnessError as error:
            problem, code = error.message, error.code
    return Trial(
        skill=definition.name,
        example=index,
        command=command,
        seconds=time.monotonic() - started,
        problem=problem,
        code=code,
    )


def _try_change(copy: Path, definition: Definition, example: Example) -> str:
    before = snapshot(copy)
    result = run_skill(copy, definition, example.inputs)
    written = snapshot(copy)
    if not result.created:
        return "the run created no file"
    try:
        dry_run(copy, definition, example.inputs)
    except Conflict:
        if snapshot(copy) != written:
            return "a second run changed files although it was refused"
    else:
        if result.plan.paths:
            return "a second run of the same inputs was not refused"
    missing = [path for path in result.plan.paths if path not in {*result.created, *result.edited}]
    if missing:
        return f"the run did not write {', '.join(missing)}"
    journal.undo(copy, result.token)
    if snapshot(copy) != before:
        odd = sorted(path for path in {*before, *snapshot(copy)} if before.get(path) != snapshot(copy).get(path))
        return f"undoing did not bring back {', '.join(odd)}"
    return ""


def _try_command(copy: Path, definition: Definition, example: Example) -> str:
    assert definition.command is not None
    plan = make_plan(copy, definition, example.inputs)
    files = file_lists([], [], [])
    for step in definition.setup:
        outcome = run_command(step.id, plan.renderer.command(step, files), copy, step.timeout_s)
        if outcome.exit:
            return f"setup {step.id}: {outcome.command} ended with {outcome.exit}\n{outcome.tail}"
    command = definition.command
    outcome = run_command(command.id, plan.renderer.command(command, files), copy, command.timeout_s)
    if outcome.exit != example.exit:
        return f"{outcome.command} ended with {outcome.exit}, expected {example.exit}\n{outcome.tail}"
    if example.expect not in outcome.output:
        return f"{outcome.command}: the output does not hold {example.expect!r}\n{outcome.tail}"
    verify_skill(copy, definition, example.inputs)
    return ""
