# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a skill: everything happens in a stage, and the tree changes at the end, all at once or not at all.

    plan -> conflicts -> stage: write, edit, steps, verify -> apply (with an undo token)

Called by `areal skill`. A step that fails leaves the tree as it was, unless `keep_failed` asks for the files.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from areal.harness.core.errors import Exit, UsageProblem
from areal.harness.skills import journal
from areal.harness.skills.definition import Definition, Step
from areal.harness.skills.edits import add_dict_entry, has_entry
from areal.harness.skills.planning import Plan, check_conflicts, make_plan
from areal.harness.skills.problems import Conflict, StepFailed
from areal.harness.skills.stage import Change, changes_since, git, snapshot, staged
from areal.harness.skills.steps import Outcome, check_outcome, file_lists, run_command


@dataclass
class Result:
    """What a run did. `failure` is set when a step failed and its files were kept all the same."""

    plan: Plan
    created: list[str] = field(default_factory=list)
    edited: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    token: str = ""
    failure: StepFailed | None = None

    @property
    def exit(self) -> Exit:
        """10 when files were written although a step failed."""
        return Exit.DONE if self.failure is None else Exit.SCAFFOLD_FAILS


def run_skill(
    root: Path,
    definition: Definition,
    given: Mapping[str, Any],
    *,
    allow_dirty: bool = False,
    keep_failed: bool = False,
) -> Result:
    """Run a skill of kind `change` on the tree under `root`."""
    if definition.kind != "change":
        raise UsageProblem(f"{definition.name} is a command; it has no files to write", code="S004")
    plan = make_plan(root, definition, given)
    check_conflicts(root, plan, allow_dirty)
    result = Result(plan)
    with staged(root) as stage:
        before = snapshot(stage)
        try:
            _work_in(stage, plan, before, result)
        except StepFailed as failure:
            if not keep_failed:
                raise
            result.failure = failure
        changes, gone = changes_since(root, stage, before)
        if gone:
            raise Conflict(f"a step removed {', '.join(gone)}; skills only add and edit", code="S012", files=gone)
    result.created = [change.path for change in changes if change.before is None]
    result.edited = [change.path for change in changes if change.before is not None]
    result.token = journal.apply(root, definition.name, changes) if changes else ""
    return result


def _work_in(stage: Path, plan: Plan, before: dict[str, str], result: Result) -> None:
    write_planned(stage, plan)
    for step in plan.steps:
        git(stage, "add", "--all")  # a step that asks git what there is sees the new files
        result.outcomes.append(_run_step(stage, step, plan, "STEP", file_lists(plan.paths, [], plan.generated_tests)))
    missing = [path for path in plan.outputs if not (stage / path).is_file()]
    if missing:
        raise StepFailed(f"the steps did not write {', '.join(missing)}", code="S040", files=missing)
    after = snapshot(stage)
    changed = [path for path, sha in after.items() if before.get(path) != sha]
    files = file_lists(changed, [], plan.generated_tests)
    for step in plan.verify:
        result.outcomes.append(_run_step(stage, step, plan, "VERIFY", files))
    touched = sorted(path for path, sha in snapshot(stage).items() if after.get(path) != sha)
    if touched:
        raise StepFailed(
            f"VERIFY FAILED: a check rewrote {', '.join(touched)}; what a skill writes must stay as it is",
            code="S041",
            files=touched,
            next_action=f"change the template of {plan.definition.name}",
        )


def write_planned(folder: Path, plan: Plan) -> None:
    """Write the new files and the edits of a plan into a folder."""
    for path, text in plan.creates.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    for entry in plan.edits:
        target = folder / entry.path
        target.write_text(add_dict_entry(target.read_text(encoding="utf-8"), entry), encoding="utf-8")


def _run_step(folder: Path, step: Step, plan: Plan, phase: str, files: Mapping[str, list[str]]) -> Outcome:
    words = plan.renderer.command(step, files)
    if not words:
        return Outcome(id=step.id, command="(no files of this kind)", exit=0, seconds=0.0, output="")
    outcome = run_command(step.id, words, folder, step.timeout_s)
    step = replace(step, expect=plan.renderer.fill(step.expect))
    if phase == "VERIFY":
        todo = plan.command("run", "--keep-failed") + "  (writes the files to mend by hand)"
    else:  # there may be no file yet: the cause lies in the inputs, or in what the command looked at
        todo = outcome.advice or f"mend what the lines above name, then: {plan.command('run')}"
    check_outcome(outcome, step, phase, todo, plan.paths)
    return replace(outcome, shown=step.show)


def verify_skill(root: Path, definition: Definition, given: Mapping[str, Any]) -> Result:
    """Check what a skill made, in place: the files are there, the entries are registered, every check passes."""
    plan = make_plan(root, definition, given)
    again = plan.command("run")
    missing = [path for path in (*plan.creates, *plan.outputs) if not (root / path).is_file()]
    if missing:
        raise StepFailed(f"{', '.join(missing)} is not there", code="S041", files=missing, next_action=again)
    for entry in plan.edits:
        if not (root / entry.path).is_file() or not has_entry((root / entry.path).read_text(encoding="utf-8"), entry):
            raise StepFailed(
                f"{entry.key!r} is not registered in {entry.target} of {entry.path}",
                code="S041",
                file=entry.path,
                next_action=f'add "{entry.key}": {entry.value}, to {entry.target} in {entry.path}',
            )
    result = Result(plan)
    files = file_lists([path for path in plan.paths if (root / path).is_file()], [], plan.generated_tests)
    for step in plan.verify:
        words = plan.renderer.command(step, files)
        if not words:
            continue
        outcome = run_command(step.id, words, root, step.timeout_s)
        step = replace(step, expect=plan.renderer.fill(step.expect))
        check_outcome(outcome, step, "VERIFY", _mending(plan, step, outcome, files), plan.paths)
        result.outcomes.append(outcome)
    return result


def _mending(plan: Plan, step: Step, outcome: Outcome, files: Mapping[str, list[str]]) -> str:
    """How to mend a failed check: the step of the same id is the command that does it, else a person does it."""
    fixers = [plan.renderer.command(fixer, files) for fixer in plan.steps if fixer.id == step.id]
    where = outcome.place(plan.paths) or (plan.paths or ["what the message names"])[0]
    how = shlex.join(fixers[0]) if fixers else f"mend {where}"
    return f"{how}, then: {plan.command('verify')}"


def run_in_place(root: Path, definition: Definition, given: Mapping[str, Any]) -> tuple[Plan, Outcome]:
    """Run the command of a skill of kind `command`; its exit code is the skill's."""
    assert definition.command is not None
    plan = make_plan(root, definition, given)
    words = plan.renderer.command(definition.command, file_lists([], [], []))
    return plan, run_command(definition.command.id, words, root, definition.command.timeout_s)


def dry_run(root: Path, definition: Definition, given: Mapping[str, Any], allow_dirty: bool = False) -> Plan:
    """The plan, after the checks that need no command; writes nothing."""
    plan = make_plan(root, definition, given)
    if definition.kind == "change":
        check_conflicts(root, plan, allow_dirty)
    return plan


def as_changes(root: Path, plan: Plan) -> list[Change]:
    """The planned files and edits as changes, for showing them."""
    out = [Change(path, None, text.encode()) for path, text in plan.creates.items()]
    for entry in plan.edits:
        before = (root / entry.path).read_text(encoding="utf-8")
        out.append(Change(entry.path, before.encode(), add_dict_entry(before, entry).encode()))
    return out
