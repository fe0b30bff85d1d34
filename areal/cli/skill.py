# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal skill`: list, show, run, verify, self-test and undo the skills under `.agents/skills`."""

from __future__ import annotations

import argparse
import difflib
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from areal.cli.envelope import run_reported
from areal.harness.core.errors import Exit, HarnessError
from areal.harness.core.findings import Finding, Report
from areal.harness.core.tree import find_root
from areal.harness.skills import journal
from areal.harness.skills.definition import Definition, load_definition, skill_names
from areal.harness.skills.inputs import parse_settings
from areal.harness.skills.planning import Plan
from areal.harness.skills.problems import NEXT_ACTIONS, StepFailed
from areal.harness.skills.runner import Result, as_changes, dry_run, run_in_place, run_skill, verify_skill
from areal.harness.skills.selftest import chosen_skills, run_trials
from areal.harness.skills.worktree import add_worktree


def main(argv: Sequence[str]) -> int:
    """Run one action. Exit 0 done, 1 a check failed, 2 wrong input, 3 something is in the way, 4 unknown name, 5 broken skill."""
    parser = argparse.ArgumentParser(prog="areal skill", description=__doc__, allow_abbrev=False)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _action(actions, "list", _list, "the skills with their inputs")
    show = _action(actions, "show", _show, "one skill: guide, inputs, what it writes and runs")
    show.add_argument("name", metavar="NAME", help="name of the skill")
    show.add_argument("--example", type=int, metavar="N", help="print the files that the Nth example writes")
    run = _action(actions, "run", _run, "run a skill; everything is verified before anything is written")
    _add_inputs(run)
    run.add_argument("--dry-run", action="store_true", help="print the plan and the new texts; write nothing")
    run.add_argument(
        "--worktree", action="store_true", help="write to a new git worktree and branch instead of this tree"
    )
    run.add_argument("--allow-dirty", action="store_true", help="edit files although they have uncommitted changes")
    run.add_argument("--keep-failed", action="store_true", help="write the files although a check failed (exit 10)")
    _add_inputs(_action(actions, "verify", _verify, "check what a skill wrote, in place"))
    selftest = _action(actions, "selftest", _selftest, "run the examples of skills in throw-away copies")
    selftest.add_argument("names", nargs="*", metavar="NAME", help="these skills (default: all)")
    selftest.add_argument("--changed-since", metavar="REF", help="only skills that changes since this git commit touch")
    selftest.add_argument(
        "--costly", action="store_true", help="also skills whose examples download something or take minutes"
    )
    jobs = min(2, os.cpu_count() or 1)
    selftest.add_argument("--jobs", type=int, default=jobs, help="how many at a time (default: %(default)s)")
    undo = _action(actions, "undo", _undo, "take back what a run wrote")
    undo.add_argument("token", nargs="?", metavar="TOKEN", help="printed by the run")
    args = parser.parse_args(list(argv))
    return args.act(args)


def _advising(work: Callable[[Report], None], name: str) -> Callable[[Report], None]:
    """`work`, whose errors always say what to do next."""

    def advised(report: Report) -> None:
        try:
            work(report)
        except HarnessError as error:
            error.next_action = error.next_action or NEXT_ACTIONS.get(error.code, f"areal skill show {name}")
            raise

    return advised


def _action(actions: Any, name: str, act: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(act=act)
    return parser


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name of the skill")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an input of the skill; repeat it"
    )


def _list(args: argparse.Namespace) -> int:
    def work(report: Report) -> None:
        root = find_root()
        skills = [load_definition(root, name) for name in skill_names(root)]
        report.result["skills"] = [
            {
                "name": skill.name,
                "description": skill.description,
                "kind": skill.kind,
                "inputs": {spec.name: spec.shape for spec in skill.inputs},
                "required": [spec.name for spec in skill.inputs if spec.required],
            }
            for skill in skills
        ]
        report.next.append("areal skill show NAME")

    def text(report: Report) -> str:
        rows = []
        for skill in report.result["skills"]:
            settings = [f"{name}=<{shape}>" for name, shape in skill["inputs"].items()]
            rows.append(f"{skill['name']}\n  {skill['description']}\n  {' '.join(settings)}".rstrip())
        return "\n".join(rows)

    return run_reported(Report(tool="areal skill list"), work, as_json=args.json, text=text)


def _show(args: argparse.Namespace) -> int:
    def work(report: Report) -> None:
        root = find_root()
        skill = load_definition(root, args.name)
        report.result |= {"description": skill.description, "guide": skill.body, "inputs": _input_rows(skill)}
        examples = [_example_command(skill, dict(example.inputs)) for example in skill.examples]
        report.result["examples"] = examples
        if args.example is not None:
            index = min(max(args.example, 1), len(examples))
            plan = dry_run(root, skill, skill.examples[index - 1].inputs, allow_dirty=True)
            report.result |= {"plan": plan.as_dict(), "files": plan.creates}

    def text(report: Report) -> str:
        result = report.result
        rows = [f"  {row['name']:<12} {row['shape']:<32} {row['help']}{row['note']}" for row in result["inputs"]]
        parts = [result["guide"].strip(), "Inputs:", *rows, "Examples:", *(f"  {line}" for line in result["examples"])]
        parts += [f"--- {path}\n{body}" for path, body in result.get("files", {}).items()]
        return "\n".join(parts)

    return run_reported(Report(tool="areal skill show", input={"name": args.name}), work, as_json=args.json, text=text)


def _input_rows(skill: Definition) -> list[dict[str, str]]:
    rows = []
    for spec in skill.inputs:
        note = " (needed)" if spec.required else f" (default: {spec.default})" if spec.default not in (None, "") else ""
        rows.append({"name": spec.name, "shape": spec.shape, "help": spec.help, "note": note})
    return rows


def _example_command(skill: Definition, inputs: dict[str, Any]) -> str:
    from areal.harness.skills.inputs import as_settings, check_inputs

    return " ".join(["areal skill run", skill.name, *as_settings(skill, check_inputs(skill, inputs))])


def _run(args: argparse.Namespace) -> int:
    settings: dict[str, str] = {}

    def work(report: Report) -> None:
        settings.update(parse_settings(args.set))
        root = find_root()
        skill = load_definition(root, args.name)
        if args.dry_run:
            plan = dry_run(root, skill, settings, args.allow_dirty)
            report.result |= {"plan": plan.as_dict(), "written": False, "diff": _diff(root, plan)}
            report.next.append(plan.command("run"))
        elif skill.kind == "command":
            _run_command(report, root, skill, settings)
        else:
            target = add_worktree(root, skill.name) if args.worktree else root
            if args.worktree:
                report.result["worktree"] = str(target)
            done = run_skill(target, skill, settings, allow_dirty=args.allow_dirty, keep_failed=args.keep_failed)
            _report_result(report, done)

    report = Report(tool="areal skill run", input={"name": args.name, "set": args.set})
    return run_reported(report, _advising(work, args.name), as_json=args.json, text=_run_text)


def _run_command(report: Report, root: Path, skill: Definition, settings: dict[str, str]) -> None:
    _, outcome = run_in_place(root, skill, settings)
    report.result |= {"command": outcome.command, "command_exit": outcome.exit, "output": outcome.output}
    known = {int(code) for code in Exit}
    report.exit = Exit(outcome.exit) if outcome.exit in known else Exit.FINDINGS
    if outcome.exit:
        report.next.append(f"read the table at the end of: areal skill show {skill.name}")


def _report_result(report: Report, done: Result) -> None:
    report.result |= {
        "plan": done.plan.as_dict(),
        "written": True,
        "created": done.created,
        "edited": done.edited,
        "steps": [outcome.as_dict() for outcome in done.outcomes],
        "undo": done.token,
    }
    report.exit = done.exit
    if done.failure:
        _add_failure(report, done.failure)
        report.next.append(f"mend {done.failure.details.get('place') or 'it'}, then: {done.plan.command('verify')}")
    elif done.token:
        paths = shlex.join([*done.created, *done.edited])
        report.next.append(f"git add {paths} && areal skill run commit-conventions")
    report.next.append(f"areal skill undo {done.token}  (takes everything back)")


def _add_failure(report: Report, failure: StepFailed) -> None:
    report.findings.append(Finding(code=failure.code, message=failure.message, extra=failure.details))


def _diff(root: Path, plan: Plan) -> str:
    out = []
    for change in as_changes(root, plan):
        old = (change.before or b"").decode().splitlines(keepends=True)
        new = change.after.decode().splitlines(keepends=True)
        source = "/dev/null" if change.before is None else f"a/{change.path}"
        out += difflib.unified_diff(old, new, source, f"b/{change.path}")
    return "".join(out)


def _run_text(report: Report) -> str:
    result = report.result
    if "output" in result:
        return result["output"].rstrip()
    lines = []
    if "diff" in result:
        plan = result["plan"]
        lines = [result["diff"].rstrip()]
        lines += [f"would run {step['id']}: {step['run']}" for step in (*plan["steps"], *plan["verify"])]
        return "\n".join(lines)
    if "worktree" in result:
        lines.append(f"worktree {result['worktree']}")
    lines += [f"created {path}" for path in result.get("created", ())]
    lines += [f"edited  {path}" for path in result.get("edited", ())]
    lines += _step_lines(result)
    return "\n".join(lines)


def _step_lines(result: dict[str, Any]) -> list[str]:
    lines = []
    for step in result.get("steps", ()):
        lines.append(f"passed  {step['id']} ({step['seconds']:.1f} s): {step['command']}")
        lines += [f"  | {line}" for line in step.get("tail", "").splitlines()]
    return lines


def _verify(args: argparse.Namespace) -> int:
    def work(report: Report) -> None:
        root = find_root()
        done = verify_skill(root, load_definition(root, args.name), parse_settings(args.set))
        report.result["steps"] = [outcome.as_dict() for outcome in done.outcomes]

    report = Report(tool="areal skill verify", input={"name": args.name, "set": args.set})
    advised = _advising(work, args.name)
    return run_reported(report, advised, as_json=args.json, text=lambda report: "\n".join(_step_lines(report.result)))


def _selftest(args: argparse.Namespace) -> int:
    def work(report: Report) -> None:
        root = find_root()
        skills = chosen_skills(root, args.names, args.changed_since, args.costly)
        trials = run_trials(root, skills, args.jobs)
        report.stats = {"skills": len(skills), "examples": len(trials), "passed": sum(t.passed for t in trials)}
        report.result["trials"] = [vars(trial) | {"passed": trial.passed} for trial in trials]
        for trial in trials:
            if not trial.passed:
                message = f"{trial.skill} example {trial.example}: {trial.command}\n{trial.problem}"
                report.findings.append(
                    Finding(code="S060", message=message, file=f".agents/skills/{trial.skill}/skill.yaml")
                )

    def text(report: Report) -> str:
        trials = report.result["trials"]
        rows = [f"{'passed' if t['passed'] else 'FAILED'}  {t['seconds']:5.1f} s  {t['command']}" for t in trials]
        return "\n".join([*rows, f"{report.stats['passed']} of {report.stats['examples']} examples passed"])

    given = {"names": args.names, "changed_since": args.changed_since}
    return run_reported(
        Report(tool="areal skill selftest", input=given), work, as_json=args.json, show_all=True, text=text
    )


def _undo(args: argparse.Namespace) -> int:
    def work(report: Report) -> None:
        root = find_root()
        report.result["undone"], stale = journal.undo(root, args.token or "")
        if stale:
            report.result["stale"] = stale
            report.next.append(journal.REBUILD)

    def text(report: Report) -> str:
        return "\n".join(f"undone  {path}" for path in report.result["undone"])

    return run_reported(
        Report(tool="areal skill undo", input={"token": args.token}), work, as_json=args.json, text=text
    )
