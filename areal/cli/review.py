# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal review`: analyse a change before people or experts read it - domains, risk, passes, tests to run, checks R010-R025."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from areal.cli.envelope import run_reported
from areal.harness.core.errors import Exit
from areal.harness.core.findings import Report
from areal.harness.core.tree import find_root

LEVELS = {"high": ("error",), "medium": ("error", "warning"), "low": ("error", "warning", "note")}


def main(argv: Sequence[str]) -> int:
    """Report on a change: 0 also with findings, unless `--fail-on` says which ones fail (1)."""
    args = _parser().parse_args(list(argv))
    report = Report(tool="areal review")
    holder: list[str] = []

    def work(report: Report) -> None:
        from areal.harness.review.analysis import review_change
        from areal.harness.review.change import read_change
        from areal.harness.review.markdown import render
        from areal.harness.review.repository import default_base, dirty_files, open_repository

        root = find_root()
        repo = open_repository(root)
        base = args.base or default_base(repo)
        change = read_change(repo, base, None if args.worktree else args.head)
        review = review_change(change, root, args.quick)
        if not args.worktree and args.head == "HEAD":
            review.uncommitted = dirty_files(repo)
        report.input = {"base": base, "head": change.head_name, "quick": args.quick}
        report.result = review.as_dict()
        report.findings = review.checks
        report.stats = {"files": len(review.files), "checks": len(review.checks), "risk": review.risk}
        failing = LEVELS.get(args.fail_on, ())
        report.exit = Exit.FINDINGS if any(f.severity in failing for f in review.checks) else Exit.DONE
        if not review.files:
            report.next = ["areal review --base HEAD~1", "areal review --worktree"]
        if args.md:
            holder.append(render(review))
            report.findings = []

    if args.md:
        code = run_reported(report, work, as_json=False, text=lambda report: holder[0].rstrip("\n"))
        return code
    return run_reported(report, work, as_json=args.json, show_all=args.all, text=_text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="areal review", description=__doc__, allow_abbrev=False)
    parser.add_argument("--base", default="", help="what the change is compared with (default: the main branch)")
    parser.add_argument("--head", default="HEAD", help="the change's last commit (default: %(default)s)")
    parser.add_argument("--worktree", action="store_true", help="the files on disk instead of a commit")
    parser.add_argument("--quick", action="store_true", help="only checks that read nothing but the changed files")
    parser.add_argument("--fail-on", choices=tuple(LEVELS), help="exit 1 with findings that are at least so grave")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--md", action="store_true", help="print the CHANGE_ANALYSIS_REPORT as Markdown")
    parser.add_argument("--all", action="store_true", help="print every finding, not the first 40 lines")
    return parser


def _text(report: Report) -> str:
    data = report.result
    lines = [f"{len(data['files'])} files since {data['base'][:9]}, risk {data['risk']}"]
    lines += [f"  {reason}" for reason in data["reasons"]]
    lines += [
        f"pass {item['template']}: {item['depth']}, {item['expert']}, {len(item['files'])} files"
        for item in data["passes"]
    ]
    if data["suggested_tests"]:
        shown = data["suggested_tests"][:8]
        more = f" (and {len(data['suggested_tests']) - 8} more)" if len(data["suggested_tests"]) > 8 else ""
        lines.append(f"tests: pytest {' '.join(shown)}{more}")
    if data["uncommitted"]:
        lines.append(
            f"{len(data['uncommitted'])} files with uncommitted changes are left out; --worktree takes them in"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
