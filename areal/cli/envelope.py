# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""How a harness command reports: one JSON envelope or the same data as text, and an exit code that agents branch on.

Called by the harness commands in `areal.cli`. A `HarnessError` becomes a message and its exit code; anything else that
escapes is a bug, whose traceback goes to a file that the message names.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from areal.harness.core.errors import Exit, HarnessError
from areal.harness.core.findings import Finding, Report

MAX_LINES = 40  # of findings in text; `--all` prints every one
MAX_TAIL = 20


class _Guard:
    """Turns what escapes from a command into an exit code: 2, 3 or 4 for its own errors, 5 for a bug."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def __enter__(self) -> Report:
        return self.report

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        report = self.report
        if isinstance(error, HarnessError):
            report.exit = error.exit
            report.error = {"code": error.code, "message": error.message} | error.details
            if error.next_action:
                report.next.insert(0, error.next_action)
            return True
        with tempfile.NamedTemporaryFile("w", prefix="areal-", suffix=".traceback.txt", delete=False) as log:
            log.write("".join(traceback.format_exception(kind, error, trace)))
        report.exit = Exit.INTERNAL
        message = f"{type(error).__name__}: {error}. This is a bug of areal; the traceback is in {log.name}"
        report.error = {"code": "internal", "message": message, "traceback": log.name}
        return True


def run_reported(
    report: Report,
    work: Callable[[Report], None],
    *,
    as_json: bool,
    show_all: bool = False,
    text: Callable[[Report], str] | None = None,
) -> int:
    """Run `work(report)`, print the report and return its exit code.

    `text` renders what comes before the findings in the text form (tables, plans); the JSON form ignores it.
    """
    with _Guard(report):
        work(report)
    if as_json:
        print(json.dumps(report.envelope(), indent=1, ensure_ascii=False))
        return int(report.exit_code)
    if text and report.error is None:
        body = text(report)
        if body:
            print(body)
    _print_findings(report.findings, show_all)
    if report.error:
        code = report.error.get("code")
        print(f"{report.tool}: {code + ' ' if code else ''}{report.error['message']}", file=sys.stderr)
    for action in report.next:
        print(f"next: {action}")
    return int(report.exit_code)


def _print_findings(findings: list[Finding], show_all: bool) -> None:
    num_lines = 0
    ordered = sorted(findings, key=lambda finding: finding.sort_key)
    for index, finding in enumerate(ordered):
        text = str(finding)
        num_lines += text.count("\n") + 1
        if num_lines > MAX_LINES and not show_all and index:
            print(f"... and {len(ordered) - index} more; --all prints them")
            return
        print(text)


def tail(text: str, num_lines: int = MAX_TAIL) -> str:
    """The last lines of a command's output, for the message of a failed step."""
    return "\n".join(text.rstrip().splitlines()[-num_lines:])


def write_json(path: Path, report: Report) -> None:
    """Write the envelope to a file."""
    path.write_text(json.dumps(report.envelope(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
