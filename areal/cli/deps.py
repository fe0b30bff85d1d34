# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal deps check|lock|upgrade`: dependencies over both manifests, `pyproject.toml` and `pyproject.vllm.toml`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from areal.cli.envelope import run_reported
from areal.harness.apiaudit.service import repository
from areal.harness.core.errors import DecisionNeeded, Exit, HarnessError
from areal.harness.core.findings import Report
from areal.harness.deps.consistency import check_all
from areal.harness.deps.locking import Conflict, compile_lock
from areal.harness.deps.manifest import read_manifests
from areal.harness.deps.requests import parse_requests
from areal.harness.deps.summary import render, write_summary
from areal.harness.deps.upgrade import Plan, apply_plan, as_data, make_plan, wheel_arguments

SUMMARY_FOLDER = Path("build")
"""Not tracked: a dry run leaves the tree as it was."""


def main(argv: Sequence[str]) -> int:
    """Run one of the subcommands; exit codes as everywhere in the harness."""
    args = _parser().parse_args(list(argv))
    work: dict[str, Callable[[argparse.Namespace, Report], None]] = {
        "check": _check,
        "lock": _lock,
        "upgrade": _upgrade,
    }
    report = Report(tool=f"areal deps {args.command}", input=_input(args))
    return run_reported(report, lambda running: work[args.command](args, running), as_json=args.json, text=_text)


def _input(args: argparse.Namespace) -> dict[str, object]:
    given = {name: value for name, value in vars(args).items() if name not in ("command", "json") and value}
    return {
        name: value if isinstance(value, list | bool) else str(value)
        for name, value in given.items()
        if name != "wheel"
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="areal deps", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print the JSON envelope")

    commands.add_parser("check", parents=[common], help="manifests, locks and container files agree")

    one = commands.add_parser("lock", parents=[common], help="compile the locks of both manifests")
    one.add_argument("--apply", action="store_true", help="write them (default: only tell what would change)")

    one = commands.add_parser("upgrade", parents=[common], help="plan, check and audit an upgrade; --apply writes it")
    one.add_argument("specs", nargs="+", metavar="PKG==VER[@VARIANT]", help="what to upgrade to")
    one.add_argument("--apply", action="store_true", help="write manifests, locks and container files")
    one.add_argument("--no-lock", action="store_true", help="edit and audit only")
    one.add_argument("--wheel", type=Path, action="append", default=[], help="audit this archive, do not download")
    one.add_argument(
        "--summary", type=Path, default=SUMMARY_FOLDER, help="folder of the summary (default: %(default)s)"
    )
    return parser


def _check(args: argparse.Namespace, report: Report) -> None:
    del args
    root = repository()
    manifests = read_manifests(root)
    report.add(check_all(root, manifests))
    report.stats = {"requirements": sum(len(manifest.sites) for manifest in manifests)}


def _lock(args: argparse.Namespace, report: Report) -> None:
    root = repository()
    written = {}
    for manifest in read_manifests(root):
        path = root / manifest.variant.lock
        old = path.read_text(encoding="utf-8") if path.is_file() else None
        outcome = compile_lock(manifest.text(), manifest.variant.name, old, {})
        if isinstance(outcome, Conflict):
            raise DecisionNeeded(
                f"{manifest.variant.manifest}: {outcome.text}", code="conflict", choices=list(outcome.choices)
            )
        if outcome.text != old:
            written[path] = outcome.text
    report.result["changed"] = [path.relative_to(root).as_posix() for path in written]
    if args.apply:
        for path, text in written.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")


def _upgrade(args: argparse.Namespace, report: Report) -> None:
    root = repository()
    plan = Plan(requests=[])
    folder = args.summary if args.summary.is_absolute() else root / args.summary
    try:
        manifests = read_manifests(root)
        plan.requests = parse_requests(args.specs, manifests)
        make_plan(root, plan, manifests, lock=not args.no_lock, wheels=wheel_arguments(args.wheel))
        if args.apply:
            apply_plan(root, plan)
        _conclude(plan, report, args)
    finally:
        _finish(root, folder, plan, report, as_json=args.json)


def _conclude(plan: Plan, report: Report, args: argparse.Namespace) -> None:
    report.add(plan.findings)
    report.add(finding for audited in plan.audits if audited.result is not None for finding in audited.result.findings)
    if plan.conflicts:
        report.exit = Exit.DECISION
        report.result["choices"] = [dict(choice) for conflict in plan.conflicts for choice in conflict.choices]
        commands = [choice["command"] for conflict in plan.conflicts for choice in conflict.choices[:1]]
        report.next = list(dict.fromkeys(commands))  # variants in the same conflict have the same choices
    elif plan.missing:
        report.exit = Exit.MISSING
        report.next += dict.fromkeys(plan.remedies)
    if not plan.conflicts and not args.apply:
        again = f"areal deps upgrade {' '.join(args.specs)}"
        report.next.append(again if plan.missing else f"{again} --apply")
    elif args.apply and not plan.conflicts:
        report.next += ["areal api discover", "areal deps check"]


def _finish(root: Path, folder: Path, plan: Plan, report: Report, *, as_json: bool) -> None:
    """The summary is written whatever happened; an error that is on its way out is told in it."""
    error = sys.exc_info()[1]
    told = report
    if isinstance(error, HarnessError):
        told = Report(tool=report.tool, input=report.input, exit=error.exit)
        told.error = {"code": error.code, "message": error.message} | error.details
    elif error is not None:
        told = Report(tool=report.tool, input=report.input, exit=Exit.INTERNAL)
        told.error = {"code": "internal", "message": f"{type(error).__name__}: {error}"}
    told.result |= as_data(plan)
    paths = write_summary(folder, plan, told, root)
    shown = [path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path) for path in paths]
    told.result["summary"] = report.result["summary"] = shown
    if error is None and not as_json:
        report.result["page"] = render(plan, report, root)


def _text(report: Report) -> str:
    if "page" in report.result:
        page = report.result.pop("page")
        return page + f"\nsummary: {', '.join(report.result['summary'])}"
    if "changed" in report.result:
        return "\n".join(f"changes: {name}" for name in report.result["changed"]) or "the locks are up to date"
    return f"{report.tool}: {report.stats.get('requirements', 0)} requirements"
