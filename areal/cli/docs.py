# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal docs sync | links | build`: translations kept with their originals, links checked, the site built without a network."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from areal.cli.envelope import run_reported
from areal.harness.core.errors import Exit
from areal.harness.core.findings import Report
from areal.harness.core.tree import find_root


def main(argv: Sequence[str]) -> int:
    """0 done or clean, 1 findings D001-D008, 2 wrong usage, 3 the docs extra is missing, 4 an unknown page."""
    parser = argparse.ArgumentParser(prog="areal docs", description=__doc__, allow_abbrev=False)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    sync = actions.add_parser("sync", help="compare docs/zh with docs/en")
    mode = sync.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="exit 1 when a translation is stale, damaged or required")
    mode.add_argument("--accept", nargs="+", default=[], metavar="PAGE", help="stamp translations as current")
    sync.set_defaults(run=_sync)
    links = actions.add_parser("links", help="check the links of all pages; no network is asked")
    links.set_defaults(run=_links)
    build = actions.add_parser("build", help="write the static site and check its links")
    build.add_argument("--out", type=Path, default=Path("build/site"), help="where to (default: %(default)s)")
    build.set_defaults(run=_build)
    for action in (sync, links, build):
        action.add_argument("--json", action="store_true", help="print one JSON object")
        action.add_argument("--all", action="store_true", help="print every finding, not the first 40 lines")
    args = parser.parse_args(list(argv))
    return args.run(args)


def _sync(args: argparse.Namespace) -> int:
    from areal.harness.docs.sync import accept, compare_all

    def work(report: Report) -> None:
        root = find_root()
        report.input = {"check": args.check, "accept": args.accept}
        if args.accept:
            report.result["accepted"] = accept(root, args.accept)
        statuses, findings = compare_all(root)
        report.findings = findings
        report.stats = dict(Counter(status.status for status in statuses))
        report.result["pages"] = [vars(status) for status in statuses]
        if not args.check:
            report.exit = Exit.DONE

    def text(report: Report) -> str:
        lines = [f"{page['status']:<10} {page['page']}" for page in report.result["pages"]]
        return "\n".join([*(f"stamped {page}" for page in report.result.get("accepted", ())), *lines])

    return run_reported(Report(tool="areal docs sync"), work, as_json=args.json, show_all=args.all, text=text)


def _links(args: argparse.Namespace) -> int:
    from areal.harness.docs.links import check_links, linked_pages

    def work(report: Report) -> None:
        root = find_root()
        pages = linked_pages(root)
        report.findings = list(check_links(root, pages))
        report.stats = {"pages": len(pages), "dead": len(report.findings)}

    def text(report: Report) -> str:
        return f"{report.stats['pages']} pages, {report.stats['dead']} dead links"

    return run_reported(Report(tool="areal docs links"), work, as_json=args.json, show_all=args.all, text=text)


def _build(args: argparse.Namespace) -> int:
    from areal.harness.docs.site import build, check_site, load_pages, unlisted

    def work(report: Report) -> None:
        root = find_root()
        written = build(root, args.out)
        report.findings = [*unlisted(root, load_pages(root)), *check_site(args.out)]
        report.input = {"out": str(args.out)}
        report.stats = {"files": len(written)}
        report.result = {"files": written}

    def text(report: Report) -> str:
        return f"wrote {report.stats['files']} files; open {args.out / 'index.html'}"

    return run_reported(Report(tool="areal docs build"), work, as_json=args.json, show_all=args.all, text=text)
