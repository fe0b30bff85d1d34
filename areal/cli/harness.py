# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal harness build | check | doctor | hook | eval`: one source under `.agents`, generated copies for every platform, and the checks."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from areal.cli.envelope import run_reported, write_json
from areal.harness.core.errors import HarnessError, UsageProblem
from areal.harness.core.findings import Report
from areal.harness.core.tree import Tree, find_root


def main(argv: Sequence[str]) -> int:
    """Run one action; exit codes as in `areal.harness.core.errors.Exit`."""
    parser = argparse.ArgumentParser(prog="areal harness", description=__doc__, allow_abbrev=False)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add_build(actions)
    _add_check(actions)
    _add_doctor(actions)
    _add_hook(actions)
    _add_eval(actions)
    args = parser.parse_args(list(argv))
    return args.run(args)


def _reporting(action: argparse.ArgumentParser) -> None:
    action.add_argument("--json", action="store_true", help="print one JSON object")
    action.add_argument("--all", action="store_true", help="print every finding, not the first 40 lines")


def _add_build(actions: Any) -> None:
    action = actions.add_parser("build", help="write what the platforms read, from the sources under .agents")
    action.add_argument("--platform", help="only this platform (and AGENTS.md)")
    action.add_argument("--dry-run", action="store_true", help="say what would change, write nothing")
    _reporting(action)
    action.set_defaults(run=_build)


def _add_check(actions: Any) -> None:
    action = actions.add_parser("check", help="drift, schemas, limits and dead references; exit 1 with findings")
    action.add_argument("--only", default="", help="comma-separated: schema, drift, limits, refs")
    action.add_argument("--fix", action="store_true", help="write the fixes that leave no choice")
    _reporting(action)
    action.set_defaults(run=_check)


def _add_doctor(actions: Any) -> None:
    action = actions.add_parser("doctor", help="start the real platform programs, offline, and see what they load")
    action.add_argument("--cli", default="", help="comma-separated: claude, codex, opencode, standard (default: all)")
    action.add_argument("--program", action="append", default=[], metavar="NAME=PATH", help="where a program is")
    _reporting(action)
    action.set_defaults(run=_doctor)


def _add_hook(actions: Any) -> None:
    action = actions.add_parser("hook", help="run a hook of .agents/hooks.yaml on the JSON of stdin")
    action.add_argument("id", help="the hook's id")
    action.add_argument(
        "--platform", default="claude", choices=("claude", "codex", "opencode"), help="whose JSON to print"
    )
    action.set_defaults(run=_hook)


def _add_eval(actions: Any) -> None:
    action = actions.add_parser("eval", help="measure the harness and write benchmarks/harness.json")
    action.add_argument("--suite", default="", help="comma-separated names of suites (default: all)")
    action.add_argument("--out", default="", metavar="FILE", help="where to write (default: benchmarks/harness.json)")
    _reporting(action)
    action.set_defaults(run=_eval)


def _report(args: argparse.Namespace, tool: str, work: Any, text: Any = None) -> int:
    report = Report(tool=f"areal harness {tool}")
    return run_reported(report, work, as_json=args.json, show_all=args.all, text=text)


def _build(args: argparse.Namespace) -> int:
    from areal.harness.generate.output import write
    from areal.harness.generate.plan import all_generated
    from areal.harness.generate.sources import load_sources

    def work(report: Report) -> None:
        root = find_root()
        generated = all_generated(load_sources(Tree(root)), args.platform)
        changed = write(root, generated, args.dry_run)
        report.input = {"platform": args.platform, "dry_run": args.dry_run}
        report.stats = {"files": len(generated), "changed": len(changed)}
        report.result = {"changed": changed}

    def text(report: Report) -> str:
        verb = "would change" if args.dry_run else "changed"
        lines = [f"{verb} {path}" for path in report.result["changed"]]
        return "\n".join([*lines, f"{report.stats['files']} files, {report.stats['changed']} {verb}"])

    return _report(args, "build", work, text)


def _check(args: argparse.Namespace) -> int:
    from areal.harness.check.fix import apply_fixes
    from areal.harness.check.run import CHECKS, run_checks

    def work(report: Report) -> None:
        only = _listed(args.only, CHECKS)
        root = find_root()
        report.input = {"only": list(only)}
        run_checks(root, report, only)
        if args.fix and report.findings:
            report.result["fixed"] = apply_fixes(root, report.findings)
            report.findings = []
            run_checks(root, report, only)
        if report.findings:
            command = f"areal harness check --only {args.only}" if args.only else "areal harness check"
            runs = [found.fix.command for found in report.findings if found.fix and found.fix.kind == "run"]
            report.next = list(dict.fromkeys([*runs, command]))

    def text(report: Report) -> str:
        fixed = [f"fixed {line}" for line in report.result.get("fixed", ())]
        counts = ", ".join(f"{value} {name}" for name, value in report.stats.items() if isinstance(value, int))
        return "\n".join([*fixed, f"{len(report.findings)} findings ({counts})"])

    return _report(args, "check", work, text)


def _listed(text: str, known: Sequence[str]) -> tuple[str, ...]:
    wanted = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in wanted:
        if name not in known:
            raise UsageProblem(f"{name!r} is none of: {', '.join(known)}", code="usage")
    return wanted or tuple(known)


def _doctor(args: argparse.Namespace) -> int:
    from areal.harness.conformance import PROBES, diagnose

    def work(report: Report) -> None:
        wanted = _listed(args.cli, tuple(PROBES))
        programs = {}
        for item in args.program:
            name, _, path = item.partition("=")
            if name not in PROBES or not Path(path).is_file():
                raise UsageProblem(
                    f"--program {item}: expected NAME=PATH, NAME one of {', '.join(PROBES)}", code="usage"
                )
            programs[name] = Path(path)
        diagnose(find_root(), wanted, programs, report)

    def text(report: Report) -> str:
        return "\n".join(f"{name:<9} {line}" for name, lines in report.result["platforms"].items() for line in lines)

    return _report(args, "doctor", work, text)


def _hook(args: argparse.Namespace) -> int:
    from areal.harness.hooks import answer, run_hook

    try:
        said = answer(run_hook(find_root(), args.id, sys.stdin.read()), args.platform)
    except HarnessError as error:
        print(f"areal harness hook: {error.message}", file=sys.stderr)
        return int(error.exit)
    if said:
        print(json.dumps(said, ensure_ascii=False))
    return 0


def _eval(args: argparse.Namespace) -> int:
    from areal.harness.evaluation import SUITES, evaluate

    def work(report: Report) -> None:
        root = find_root()
        wanted = _listed(args.suite, tuple(SUITES))
        out = Path(args.out) if args.out else root / "benchmarks" / "harness.json"
        evaluate(root, wanted, report, previous=out)
        write_json(out, report)

    def text(report: Report) -> str:
        return "\n".join(
            f"{suite}.{name}: {value}"
            for suite, metrics in report.result["metrics"].items()
            for name, value in metrics.items()
        )

    return _report(args, "eval", work, text)
