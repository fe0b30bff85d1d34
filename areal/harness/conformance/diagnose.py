# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the probes of the wanted platforms and turns what they say into a report.

| code | meaning |
| --- | --- |
| H050 | a platform's program does not load what we generate, or does something else with it |
| H051 | a platform's program is not installed: nothing was checked |
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from areal.harness.conformance import claude, codex, opencode, standard
from areal.harness.conformance.sandbox import Check, make_sandbox
from areal.harness.core.errors import Exit
from areal.harness.core.findings import Finding, Report
from areal.harness.core.tree import Tree
from areal.harness.generate.sources import Sources, load_sources

PROBES = {"claude": claude.probe, "codex": codex.probe, "opencode": opencode.probe, "standard": standard.probe}


def diagnose(root: Path, wanted: Collection[str], programs: Mapping[str, Path], report: Report) -> None:
    """Probe the wanted platforms; exit 3 when a program is missing and nothing else is wrong."""
    sources = load_sources(Tree(root))
    lines: dict[str, list[str]] = {}
    num_missing = 0
    for name in wanted:
        settings = sources.config["platforms"][name]
        found = programs.get(name) or shutil.which(settings["program"])
        if found is None:
            num_missing += 1
            lines[name] = [f"missing: no program {settings['program']!r} on PATH"]
            what = (
                f"{settings['program']} is not installed ({settings['registry']}: {settings['package']}); not checked"
            )
            report.add([Finding(code="H051", severity="warning", message=what, extra={"platform": name})])
            continue
        checks = _probe(name, Path(found), root, sources)
        lines[name] = [f"{'ok ' if check.ok else 'BAD'} {check.name} {check.detail}".rstrip() for check in checks]
        report.add(_finding(name, check) for check in checks if not check.ok)
        report.stats[name] = {"checks": len(checks), "failed": sum(not check.ok for check in checks)}
    report.result = {"platforms": lines}
    if num_missing and not any(finding.severity == "error" for finding in report.findings):
        report.exit = Exit.MISSING


def _probe(name: str, program: Path, root: Path, sources: Sources) -> list[Check]:
    checks: list[Check] = []
    with tempfile.TemporaryDirectory(prefix="areal-doctor-") as folder:
        sandbox = make_sandbox(root, Path(folder))
        try:
            for check in PROBES[name](program, sandbox, sources):
                checks.append(check)
        except subprocess.TimeoutExpired as expired:
            checks.append(Check("answers in time", False, f"no end of {expired.cmd} in {expired.timeout} s"))
        except (OSError, ValueError) as error:  # not executable, or prints something that is no JSON
            checks.append(Check("answers", False, f"{type(error).__name__}: {error}"))
    return checks


def _finding(name: str, check: Check) -> Finding:
    message = f"{name}: {check.name}: failed {check.detail}".rstrip()
    return Finding(code="H050", message=message, extra={"platform": name, "check": check.name})
