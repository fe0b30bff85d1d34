# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal archon new MODEL_TYPE`: measures what an HF decoder computes, writes the Archon family that does the same, proves it.

Exit codes as in `areal.harness.core.errors`: 0 written and proven, 2 wrong usage, 4 ambiguous, 10 tests fail (nothing is kept
but the report), 11 not supported. Loads torch and transformers only when it runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from areal.cli.envelope import run_reported, write_json
from areal.harness.core.findings import Report

REPORT = "scaffold-report.json"


def add_new(actions: Any) -> None:
    """Add the action to `areal archon`."""
    action = actions.add_parser("new", help="write and prove the family of an HF model type that has none")
    action.add_argument("model", help="model_type of transformers, a config.json, or a folder with one")
    action.add_argument("--name", help="name of the package (default: the model type)")
    action.add_argument("--output", type=Path, help="folder to write the package and its tests to, instead of the tree")
    action.add_argument("--dry-run", action="store_true", help="measure and prove, write nothing")
    action.add_argument("--report", type=Path, help=f"where to write {REPORT} (default: this folder, if it fails)")
    action.add_argument("--json", action="store_true", help="print the JSON envelope")
    action.set_defaults(run=_new)


def _new(args: argparse.Namespace) -> int:
    from areal.experimental.models.archon.scaffold.command import scaffold

    report = Report(tool="areal archon new", input={"model": args.model, "name": args.name or ""})
    code = run_reported(
        report,
        lambda report: scaffold(
            report, args.model, name=args.name, output=args.output, dry_run=args.dry_run, is_quiet=args.json
        ),
        as_json=args.json,
        show_all=True,
        text=lambda report: "\n".join(f"wrote {path}" for path in report.stats.get("written", [])),
    )
    if args.report is not None or code in (4, 10, 11):
        write_json(args.report or Path(REPORT), report)
    return code
