# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a run would do, before anything happens: the texts of new files, the edits, the commands; and what is in the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from areal.harness.skills import journal
from areal.harness.skills.definition import Definition, Step
from areal.harness.skills.edits import Entry, add_dict_entry
from areal.harness.skills.inputs import as_settings, check_inputs
from areal.harness.skills.problems import BrokenSkill, Conflict
from areal.harness.skills.rendering import Renderer
from areal.harness.skills.stage import git
from areal.harness.skills.steps import file_lists


@dataclass
class Plan:
    """One skill with checked inputs, rendered."""

    definition: Definition
    values: Mapping[str, Any]
    renderer: Renderer
    creates: dict[str, str] = field(default_factory=dict)
    edits: list[Entry] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    verify: list[Step] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    generated_tests: list[str] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        """Every file that is known to be created or edited."""
        return [*self.creates, *self.outputs, *dict.fromkeys(entry.path for entry in self.edits)]

    @property
    def settings(self) -> list[str]:
        """The words that repeat the run."""
        return as_settings(self.definition, self.values)

    def command(self, action: str, *extra: str) -> str:
        """An `areal skill` command line with the same inputs."""
        import shlex

        return shlex.join(["areal", "skill", action, self.definition.name, *self.settings, *extra])

    def as_dict(self) -> dict[str, Any]:
        """The plan for JSON and for people."""
        files = file_lists(self.paths, [], self.generated_tests)
        return {
            "creates": [*self.creates, *self.outputs],
            "edits": [{"path": e.path, "target": e.target, "key": e.key, "value": e.value} for e in self.edits],
            "steps": [{"id": step.id, "run": self._shown(step, files)} for step in self.steps],
            "verify": [{"id": step.id, "run": self._shown(step, files)} for step in self.verify],
        }

    def _shown(self, step: Step, files: Mapping[str, list[str]]) -> str:
        import shlex

        return shlex.join(self.renderer.command(step, files))


def make_plan(root: Path, definition: Definition, given: Mapping[str, Any]) -> Plan:
    """Check the inputs and render everything; writes nothing."""
    values = check_inputs(definition, given)
    renderer = Renderer(root, definition, values)
    plan = Plan(definition, values, renderer)
    for creation in definition.creates:
        if renderer.holds(creation.when):
            path = safe_path(root, renderer.fill(creation.path))
            if path in plan.creates:
                raise BrokenSkill(f"{definition.folder}/skill.yaml creates {path} twice", code="S020")
            plan.creates[path] = renderer.file(creation.template)
            if creation.generated_tests:
                plan.generated_tests.append(path)
    for edit in definition.edits:
        if renderer.holds(edit.when):
            path = safe_path(root, renderer.fill(edit.path))
            plan.edits.append(
                Entry(path, renderer.fill(edit.target), renderer.fill(edit.key), renderer.fill(edit.value))
            )
    plan.outputs = [safe_path(root, renderer.fill(path)) for path in definition.outputs]
    plan.steps = [step for step in definition.steps if renderer.holds(step.when)]
    plan.verify = [step for step in definition.verify if renderer.holds(step.when)]
    return plan


def safe_path(root: Path, path: str) -> str:
    """A path inside the repository, not below `.git` and through no link out of it; else `Conflict` (S013)."""
    parts = Path(path).parts
    real = (root / path).resolve()
    if Path(path).is_absolute() or ".." in parts or parts[:1] == (".git",) or not real.is_relative_to(root.resolve()):
        raise Conflict(f"{path} leads outside the repository; nothing was written", code="S013", file=path)
    return Path(path).as_posix()


def check_conflicts(root: Path, plan: Plan, allow_dirty: bool) -> None:
    """`Conflict` when a file is there already, has uncommitted changes, or an interrupted run must be taken back first."""
    token = journal.interrupted(root)
    if token:
        raise Conflict(
            f"an earlier run was interrupted while it wrote ({token})",
            code="S014",
            next_action=f"areal skill undo {token}",
            token=token,
        )
    existing = [path for path in (*plan.creates, *plan.outputs) if (root / path).exists() or (root / path).is_symlink()]
    if existing:
        raise Conflict(
            f"{', '.join(existing)} exists already; nothing was written",
            code="S010",
            files=existing,
            next_action="choose another name, or remove what is there",
        )
    for entry in plan.edits:
        if not (root / entry.path).is_file():
            raise Conflict(
                f"{entry.path} does not exist; the skill cannot register there", code="S030", file=entry.path
            )
        add_dict_entry((root / entry.path).read_text(encoding="utf-8"), entry)
    if not allow_dirty:
        _check_clean(root, sorted({entry.path for entry in plan.edits}))


def _check_clean(root: Path, paths: list[str]) -> None:
    status = git(root, "status", "--porcelain", "-z", "--", *paths) if paths else None
    dirty = [line[3:] for line in (status or "").split("\0") if line]
    foreign = [path for path in dirty if not journal.written_by_skills(root, path)]
    if foreign:
        raise Conflict(
            f"{', '.join(foreign)} has uncommitted changes that no skill made; nothing was written",
            code="S011",
            files=foreign,
            next_action="commit them, or run the skill with --allow-dirty",
        )
