# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal commit-msg FILE | --infer`: check a commit message against the staged files, or print how it must begin."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from areal.cli.envelope import run_reported
from areal.harness.core.errors import UsageProblem
from areal.harness.core.findings import Report
from areal.harness.core.tree import find_root

HEADER_BYTES = 1000
"""Where a generated file says that it is one."""


def main(argv: Sequence[str]) -> int:
    """0 when the message is fine or was inferred, 1 with findings C001-C006, 2 wrong usage, 3 no git or no repository."""
    parser = argparse.ArgumentParser(prog="areal commit-msg", description=__doc__, allow_abbrev=False)
    parser.add_argument("file", nargs="?", help="the message, as git hands it to the commit-msg hook")
    parser.add_argument("--infer", action="store_true", help="print type and scope of the staged files")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(list(argv))
    if (args.file is None) is not args.infer:
        parser.error("give either FILE or --infer")
    report = Report(tool="areal commit-msg", input={"file": args.file, "infer": args.infer})
    work = _infer if args.infer else lambda report: _check(report, Path(args.file))
    return run_reported(report, work, as_json=args.json, show_all=True, text=lambda report: report.result.get("header"))


def _infer(report: Report) -> None:
    from areal.harness.commits.message import infer
    from areal.harness.commits.scopes import load_scopes
    from areal.harness.commits.staged import staged

    root = find_root()
    change = staged(root)
    if not change.lines:
        raise UsageProblem("nothing is staged", code="nothing_staged", next_action="git add FILES")
    scopes = load_scopes(root)
    inferred = infer(scopes, change.lines, change.added)
    report.stats = {"files": len(change.lines), "lines": sum(change.lines.values())}
    report.result = {"type": inferred.type, "scope": inferred.scope, "header": inferred.header}
    written = {path: count for path, count in change.lines.items() if not _is_generated(root / path)}
    weights = scopes.weights(written or change.lines)
    if len(weights) > 1:
        shares = ", ".join(f"{name} ({count} lines)" for name, count in weights.items())
        report.next = [
            f"several scopes are staged: {shares}; one concern a commit: git restore --staged FILES of the others"
        ]


def _is_generated(file: Path) -> bool:
    """Copies follow their source: they are no concern of their own."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return b"GENERATED from " in stream.read(HEADER_BYTES)


def _check(report: Report, file: Path) -> None:
    from areal.harness.commits.message import check_message
    from areal.harness.commits.scopes import load_scopes
    from areal.harness.commits.staged import staged

    root = find_root()
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(f"the message {file} cannot be read: {error}", code="unreadable") from None
    change = staged(root)
    report.stats = {"files": len(change.lines)}
    report.findings = list(check_message(text, load_scopes(root), change.lines, change.added))
    if report.findings:
        report.next = ["areal commit-msg --infer"]
