# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The skills of this repository: declared soundly, every example plans; a reward from command to green tests, for real."""

from __future__ import annotations

import time

import pytest

from areal.harness.scaffold.mutants import mutants
from areal.harness.skills.definition import Definition, load_definition, skill_names
from areal.harness.skills.problems import Conflict
from areal.harness.skills.runner import dry_run
from areal.harness.skills.selftest import run_trials
from tests.harness.skills.conftest import ROOT

NAMES = skill_names(ROOT)
SKILLS = {name: load_definition(ROOT, name) for name in NAMES}
SCAFFOLDERS = ("add-dataset", "add-reward", "add-workflow")


def test_every_skill_of_the_plan_is_there() -> None:
    creation = {*SCAFFOLDERS, "add-agent-expert", "add-archon-model", "add-skill", "add-unit-tests"}
    work = {"commit-conventions", "create-pr", "debug-distributed", "review-pr", "translate-doc-zh", "upgrade-deps"}
    assert creation | work <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_skill_is_short_and_says_what_to_do_when_it_fails(name: str) -> None:
    text = (ROOT / SKILLS[name].folder / "SKILL.md").read_text(encoding="utf-8")
    assert SKILLS[name].name == name and text.count("\n") <= 120
    assert ("## If " in text and "| question | answer |" in " ".join(text.split())) or "Which way to go" in text
    first = text.split("```bash\n", 1)[1].splitlines()[0]
    assert first.startswith(f"areal skill run {name}")


@pytest.mark.parametrize("name", NAMES)
def test_every_example_plans_with_safe_paths_and_full_commands(name: str) -> None:
    for example in SKILLS[name].examples:
        plan = dry_run(ROOT, SKILLS[name], example.inputs, allow_dirty=True)
        shown = plan.as_dict()
        assert all("{" not in step["run"] for step in (*shown["steps"], *shown["verify"]))


@pytest.mark.parametrize(
    ("skill", "taken"), [("add-reward", "gsm8k"), ("add-dataset", "gsm8k"), ("add-workflow", "rlvr")]
)
def test_existing_names_are_never_overwritten(skill: str, taken: str) -> None:
    definition = SKILLS[skill]
    free = Definition(**{**vars(definition), "inputs": tuple(_without_reserved(spec) for spec in definition.inputs)})
    with pytest.raises(Conflict, match="exists already"):
        dry_run(ROOT, free, {"name": taken}, allow_dirty=True)


def _without_reserved(spec: object) -> object:
    return type(spec)(**{**vars(spec), "reserved": ()})


@pytest.mark.parametrize("skill", SCAFFOLDERS)
def test_scaffolds_have_mutants_to_kill(skill: str) -> None:
    plan = dry_run(ROOT, SKILLS[skill], SKILLS[skill].examples[0].inputs, allow_dirty=True)
    module = next(text for path, text in plan.creates.items() if path.startswith("areal/"))
    assert len(mutants(module)) >= 10


@pytest.mark.slow
def test_add_reward_from_command_to_green_tests_and_back() -> None:
    definition = SKILLS["add-reward"]
    started = time.monotonic()
    one = Definition(**{**vars(definition), "examples": definition.examples[:1]})
    assert [trial.problem for trial in run_trials(ROOT, [one])] == [""]
    assert (
        time.monotonic() - started < 90
    )  # on a busy machine; the number of `benchmarks/harness.json` is the honest one
