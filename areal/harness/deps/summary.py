# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`upgrade-summary.md` and `upgrade-summary.json`: what an upgrade asked for, what it does, and what is left to do.

Written on every way out of `areal deps upgrade`, so it must render a plan in any state.
"""

from __future__ import annotations

import json
from pathlib import Path

from areal.harness.apiaudit.audit import BREAK
from areal.harness.core.errors import Exit
from areal.harness.core.findings import Finding, Report
from areal.harness.deps.upgrade import Audited, Plan, VariantPlan

_MAX_NOTES = 20
"""Notes of one audit that are shown; the JSON has all."""


def write_summary(folder: Path, plan: Plan, report: Report, root: Path) -> list[Path]:
    """Write both files; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "upgrade-summary.md"
    data = folder / "upgrade-summary.json"
    page.write_text(render(plan, report, root), encoding="utf-8")
    data.write_text(json.dumps(report.envelope(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return [page, data]


def render(plan: Plan, report: Report, root: Path) -> str:
    """The Markdown page."""
    asked = ", ".join(str(request) for request in plan.requests) or "nothing that could be read"
    lines = [f"# Upgrade: {asked}", "", _verdict(plan, report), ""]
    if report.error:
        lines += [f"Stopped: {report.error['message']}", ""]
    for name, variant in plan.variants.items():
        lines += _variant(name, variant)
    if plan.audits:
        lines += ["## Audits", "", "| package | from | to | variants | checked | unverifiable | breaks |"]
        lines += ["| --- | --- | --- | --- | --: | --: | --: |"]
        lines += [_audit_row(audited) for audited in plan.audits] + [""]
        for audited in plan.audits:
            lines += _audit_findings(audited)
    lines += _bullets("## Manifests and locks", [str(f) for f in plan.findings])
    if plan.containers:
        lines += ["## Container files", ""]
        lines += [line for edit in plan.containers for line in ("```diff", edit.diff(root).rstrip(), "```", "")]
    lines += _bullets("## Notes", plan.notes)
    lines += _bullets("## Could not be done", plan.missing)
    lines += _bullets("## Written", [f"`{path}`" for path in plan.applied])
    lines += _bullets("## Next", [f"`{command}`" for command in report.next])
    return "\n".join(lines).rstrip() + "\n"


def _verdict(plan: Plan, report: Report) -> str:
    verdicts = {
        Exit.DONE: "Clean: no call site of ours breaks.",
        Exit.FINDINGS: f"{plan.num_breaks} breaks at call sites of ours, and {len(plan.findings)} findings in manifests and locks.",
        Exit.USAGE: "Not done: the request could not be used.",
        Exit.MISSING: "Incomplete: something needed is missing, see below.",
        Exit.DECISION: "Not done: the versions exclude one another, and people have to decide.",
        Exit.INTERNAL: "Not done: an error in areal itself.",
    }
    mode = "" if plan.applied else " Dry run: nothing was written."
    return verdicts.get(report.exit_code, f"Exit code {int(report.exit_code)}.") + mode


def _variant(name: str, variant: VariantPlan) -> list[str]:
    diff = variant.manifest.diff().rstrip()
    if not diff and variant.new_lock is None and variant.conflict is None:
        return []
    lines = [f"## Variant {name}", ""]
    lines += ["```diff", diff, "```", ""] if diff else ["The declared ranges hold it already.", ""]
    conflict = variant.conflict
    if conflict is not None:
        lines += [f"Conflict ({conflict.kind}): {conflict.text}", ""]
        lines += [f"- {choice['action']}: `{choice['command']}` ({choice['why']})" for choice in conflict.choices]
        lines.append("")
    if variant.changes:
        lines += ["| package | locked | becomes |", "| --- | --- | --- |"]
        lines += [f"| {package} | {old or '-'} | {new or '-'} |" for package, (old, new) in variant.changes.items()]
        lines.append("")
    elif variant.new_lock is not None:
        lines += ["The lock does not change.", ""]
    return lines


def _audit_row(audited: Audited) -> str:
    result = audited.result
    stats = result.stats if result else {}
    counts = [str(stats.get("checked", "-")), str(stats.get("unverifiable", "-"))]
    counts.append("-" if result is None else str(result.num_breaks))
    variants = ", ".join(audited.variants)
    return f"| {audited.package} | {audited.old or '-'} | {audited.new} | {variants} | {' | '.join(counts)} |"


def _audit_findings(audited: Audited) -> list[str]:
    lines: list[str] = []
    if audited.reason:
        lines += [f"{audited.package} {audited.new}: {audited.reason}", ""]
    if audited.result is None or not audited.result.findings:
        return lines
    lines += [f"### {audited.package} {audited.old or '?'} to {audited.new}", ""]
    breaking = [finding for finding in audited.result.findings if finding.extra["status"] == BREAK]
    others = [finding for finding in audited.result.findings if finding.extra["status"] != BREAK]
    lines += [line for finding in breaking for line in _task(finding)]
    lines += [f"- `{finding.code}` {finding.place}: {finding.message}" for finding in others[:_MAX_NOTES]]
    if len(others) > _MAX_NOTES:
        lines.append(f"- and {len(others) - _MAX_NOTES} more in the JSON")
    return [*lines, ""]


def _task(finding: Finding) -> list[str]:
    """A break as a task for somebody: the sites with their lines, and where it went."""
    sites = [f"{site['file']}:{site['line']}" for site in finding.extra["sites"]]
    lines = [f"- [ ] `{finding.code}` {finding.message}", *(f"  - {site}" for site in sites)]
    return lines + [f"  - {line.strip()}" for line in finding.hint.split("\n") if line.strip()]


def _bullets(title: str, entries: list[str]) -> list[str]:
    return [title, "", *(f"- {entry}" for entry in entries), ""] if entries else []
