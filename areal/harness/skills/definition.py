# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a skill declares in `skill.yaml` beside its `SKILL.md`, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from areal.harness.core.documents import read_markdown, read_yaml
from areal.harness.core.errors import DecisionNeeded
from areal.harness.core.tree import translate_glob
from areal.harness.generate.sources import SKILLS_FOLDER

DEFAULT_TIMEOUT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input: its type, whether it is needed, and what restricts it."""

    name: str
    type: str
    help: str
    required: bool = False
    default: Any = None
    values: tuple[str, ...] = ()
    pattern: str = ""
    min: int | None = None
    max: int | None = None
    reserved: tuple[str, ...] = ()

    @property
    def shape(self) -> str:
        """The type in words: the values of an enum, the range of a number."""
        if self.type == "enum":
            return "|".join(self.values)
        limits = [str(value) for value in (self.min, self.max) if value is not None]
        return f"{self.type} {'..'.join(limits)}".strip()


@dataclass(frozen=True, kw_only=True)
class Creation:
    """A file to write from a template."""

    path: str
    template: str
    when: str = ""
    generated_tests: bool = False


@dataclass(frozen=True, kw_only=True)
class Edit:
    """An entry to add to a dict of an existing file."""

    path: str
    op: str
    target: str
    key: str
    value: str
    when: str = ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command, without a shell."""

    id: str
    run: str
    timeout_s: float = DEFAULT_TIMEOUT_S
    when: str = ""
    expect: str = ""
    show: bool = False


@dataclass(frozen=True, kw_only=True)
class Example:
    """Inputs that the self-test runs; for commands also the exit code and what the output holds."""

    inputs: Mapping[str, Any]
    exit: int = 0
    expect: str = ""


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A skill: the front matter of its `SKILL.md` and its `skill.yaml`."""

    name: str
    description: str
    body: str = field(repr=False)
    folder: Path
    kind: str
    inputs: tuple[Input, ...] = ()
    derive: Mapping[str, str] = field(default_factory=dict)
    creates: tuple[Creation, ...] = ()
    edits: tuple[Edit, ...] = ()
    steps: tuple[Step, ...] = ()
    outputs: tuple[str, ...] = ()
    command: Step | None = None
    setup: tuple[Step, ...] = ()
    verify: tuple[Step, ...] = ()
    examples: tuple[Example, ...] = ()
    depends_on: tuple[str, ...] = ()
    costly: bool = False

    def touched_by(self, changed: list[str]) -> bool:
        """Whether one of these files is part of the skill, or something that it depends on."""
        patterns = [translate_glob(pattern) for pattern in (f"{self.folder.as_posix()}/**", *self.depends_on)]
        return any(pattern.match(name) for pattern in patterns for name in changed)


def skill_names(root: Path) -> list[str]:
    """The skills that can be run, sorted."""
    return sorted(path.parent.name for path in (root / SKILLS_FOLDER).glob("*/skill.yaml"))


def load_definition(root: Path, name: str) -> Definition:
    """One skill; `DecisionNeeded` (S001) listing what there is for an unknown name."""
    folder = SKILLS_FOLDER / name
    if name not in skill_names(root):
        raise DecisionNeeded(
            f"no skill {name!r}; there are: {', '.join(skill_names(root)) or 'none'}",
            code="S001",
            next_action="areal skill list",
            choices=skill_names(root),
        )
    guide = read_markdown(root, folder / "SKILL.md", "skill-frontmatter")
    data = read_yaml(root, folder / "skill.yaml", "skill").data
    return Definition(
        name=data["name"],
        description=guide.data["description"],
        body=guide.body,
        folder=folder,
        kind=data["kind"],
        inputs=tuple(_input(name, spec) for name, spec in data["inputs"].items()),
        derive=data.get("derive", {}),
        creates=tuple(Creation(**item) for item in data.get("creates", ())),
        edits=tuple(Edit(**item) for item in data.get("edits", ())),
        steps=_steps(data.get("steps", ())),
        outputs=tuple(data.get("outputs", ())),
        command=Step(**data["command"]) if "command" in data else None,
        setup=_steps(data.get("setup", ())),
        verify=_steps(data["verify"]),
        examples=tuple(Example(**item) for item in data["examples"]),
        depends_on=tuple(data.get("depends_on", ())),
        costly=data.get("costly", False),
    )


def _input(name: str, spec: Mapping[str, Any]) -> Input:
    tuples = {key: tuple(spec[key]) for key in ("values", "reserved") if key in spec}
    return Input(name=name, **{**spec, **tuples})


def _steps(items: Any) -> tuple[Step, ...]:
    return tuple(Step(**item) for item in items)
