# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal pr`: draft a pull request of the checked-out branch - title, description, checks, commands; `--open` runs them.

Without `--open` nothing leaves this machine, and no `gh` is needed. The description is written to `build/pull-request.md`, which
git ignores, and where the printed command reads it; nothing else is changed.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from areal.cli.envelope import run_reported, tail
from areal.harness.core.errors import Exit, HarnessError, MissingTool
from areal.harness.core.findings import Report
from areal.harness.core.tree import find_root

COMMAND_TIMEOUT_S = 120


def main(argv: Sequence[str]) -> int:
    """0 drafted or opened, 1 findings of grade error, 2 a branch that cannot be proposed, 3 no git or no `gh`."""
    parser = argparse.ArgumentParser(prog="areal pr", description=__doc__, allow_abbrev=False)
    parser.add_argument("--base", default="", help="the branch to merge into (default: the main branch)")
    parser.add_argument("--title", default="", help="the title (default: made of the commits)")
    parser.add_argument("--open", action="store_true", help="push and open it with gh; refused with errors found")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--all", action="store_true", help="print every finding, not the first 40 lines")
    args = parser.parse_args(list(argv))
    report = Report(tool="areal pr")
    return run_reported(report, lambda report: _work(report, args), as_json=args.json, show_all=args.all, text=_text)


def _work(report: Report, args: argparse.Namespace) -> None:
    from areal.harness.commits.pull_request import BODY_FILE, prepare
    from areal.harness.review.change import read_change
    from areal.harness.review.repository import default_base, open_repository

    root = find_root()
    repo = open_repository(root)
    base = args.base or default_base(repo)
    request, report.findings = prepare(repo, root, read_change(repo, base, "HEAD"), base, args.title)
    (root / BODY_FILE).parent.mkdir(exist_ok=True)
    (root / BODY_FILE).write_text(request.body + "\n", encoding="utf-8")
    report.input = {"base": base, "open": args.open}
    report.stats = {"files": len(request.review.files), "risk": request.review.risk}
    report.result = {
        "title": request.title,
        "body": request.body,
        "branch": request.branch,
        "into": request.base,
        "body_file": BODY_FILE.as_posix(),
        "commands": list(request.commands),
        "opened": False,
    }
    if args.open and report.exit_code == Exit.DONE:
        report.result["url"] = _open(root, request.commands)
        report.result["opened"] = True
    elif report.exit_code == Exit.DONE:
        report.next = ["areal pr --open"] if shutil.which("gh") else list(request.commands)


def _open(root: Path, commands: tuple[str, ...]) -> str:
    if shutil.which("gh") is None:
        raise MissingTool(
            "gh is not installed, so the pull request was only drafted",
            code="no_gh",
            next_action="install gh, or push and open it by hand",
            commands=list(commands),
        )
    output = ""
    for command in commands:
        done = subprocess.run(
            shlex.split(command), cwd=root, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
        if done.returncode:
            message = f"`{command}` failed with exit code {done.returncode}: {tail(done.stderr)}"
            raise HarnessError(message, code="command_failed", next_action=command)
        output = done.stdout
    return output.strip()


def _text(report: Report) -> str:
    data = report.result
    commands = "\n".join(f"  {command}" for command in data["commands"])
    done = (
        f"opened {data['url']}"
        if data["opened"]
        else f"drafted only, description in {data['body_file']}; these commands open it:\n{commands}"
    )
    return f"title: {data['title']}\n{data['branch']} -> {data['into']}\n\n{data['body']}\n{done}"
