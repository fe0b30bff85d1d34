# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""One run of `areal harness check`: the wanted checks in an order in which a broken source is reported before what follows from it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from areal.harness.apiaudit.contract import FOLDER as CONTRACTS
from areal.harness.check.contracts import check_contracts
from areal.harness.check.drift import check_drift
from areal.harness.check.limits import check_coverage, check_duplicates, check_limits
from areal.harness.check.schema import check_outputs, check_sources
from areal.harness.core.errors import HarnessError
from areal.harness.core.findings import Finding, Fix, Report
from areal.harness.core.tree import Tree
from areal.harness.generate.plan import all_generated
from areal.harness.generate.sources import load_config, load_sources
from areal.harness.refs.scan import scan

CHECKS = ("schema", "drift", "limits", "refs")


def _with_source(finding: Finding) -> Finding:
    """A dead reference in a generated contract is mended by writing the contract again, never by hand."""
    path = Path(finding.file)
    if path.parent.as_posix() != CONTRACTS or path.suffix != ".yaml" or finding.fix is not None:
        return finding
    return replace(finding, fix=Fix(kind="run", command=f"areal api discover {path.stem}"))


def run_checks(root: Path, report: Report, only: Collection[str] = CHECKS) -> None:
    """Fill a report with the findings of the wanted checks and with how much they looked at."""
    tree = Tree(root)
    broken = list(check_sources(tree))
    if "schema" in only:
        report.add(broken)
    if "refs" in only:
        scanned = scan(tree, load_config(tree.root))
        report.add(_with_source(finding) for finding in scanned.findings)
        report.stats |= {"texts": scanned.num_files, "refs": scanned.num_refs}
    if broken:  # copies of a source that cannot be read say nothing
        report.stats["skipped"] = [name for name in ("drift", "limits") if name in only]
        report.add(broken if "schema" not in only and {"drift", "limits"} & set(only) else [])
        return
    try:
        sources = load_sources(tree)
        generated = all_generated(sources)
    except HarnessError as error:
        file = str(error.details.get("file", ""))
        report.add([Finding(code=error.code or "H010", message=error.message, file=file)])
        return
    if "schema" in only:
        report.add(check_outputs(root, generated))
    if "drift" in only:
        report.add([*check_drift(sources, generated), *check_contracts(tree)])
    if "limits" in only:
        report.add([*check_limits(sources, generated), *check_duplicates(tree), *check_coverage(sources)])
    report.stats |= {
        "generated": len(generated),
        "experts": len(sources.experts),
        "skills": len(sources.skills),
        "rules": len(sources.rules),
    }
