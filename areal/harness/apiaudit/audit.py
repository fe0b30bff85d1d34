# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Audits our usages of a package at a release, alone or against the release we come from.

Statuses: BREAK (fine before, wrong at the target; or wrong, when nothing to compare with is known), STALE (wrong already
before), WARN (silently without effect), NOTE (worth reading), FIXED (wrong before, fine now). Usages that cannot be decided
are counted and listed as unverifiable; they are never counted as checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from areal.harness.apiaudit.checks.pairs import changed_kinds, pair_problems
from areal.harness.apiaudit.checks.usages import Checker
from areal.harness.apiaudit.checks.verdict import BREAKING, NOTE, WARNING, Problem, Verdict
from areal.harness.apiaudit.usage import Kind, Usage
from areal.harness.core.findings import Finding

BREAK, STALE, WARN, NOTED, FIXED = "BREAK", "STALE", "WARN", "NOTE", "FIXED"
_SEVERITY = {BREAK: "error", STALE: "warning", WARN: "warning", NOTED: "note", FIXED: "note"}


@dataclass
class AuditResult:
    """Findings and the counts of what was and was not decided."""

    findings: list[Finding] = field(default_factory=list)
    stats: dict[str, int] = field(default_factory=dict)
    unverifiable: list[dict[str, str]] = field(default_factory=list)

    @property
    def num_breaks(self) -> int:
        """Findings that need a change of ours."""
        return sum(finding.extra.get("status") == BREAK for finding in self.findings)


@dataclass(frozen=True)
class _Group:
    """Usages that are judged as one, and what was found."""

    status: str
    problem: Problem
    old: Verdict | None
    new: Verdict


def audit(
    usages: Iterable[Usage], target: Checker, base: Checker | None = None, ignore: Iterable[Mapping[str, Any]] = ()
) -> AuditResult:
    """Judge every usage at `target`, and at `base` where one is given."""
    result = AuditResult()
    counts = dict.fromkeys(("usages", "checked", "unverifiable", "partly_verified", "inactive", "ignored", "fixed"), 0)
    found: dict[tuple[str, str, str, str], tuple[_Group, list[Usage]]] = {}
    undecided: dict[tuple[str, str], list[Usage]] = {}
    symbols, files = set(), set()
    ignored = {(entry["symbol"], entry.get("code", "")) for entry in ignore}
    for usage in usages:
        counts["usages"] += 1
        symbols.add(usage.symbol)
        files.add(usage.file)
        if not target.runs(usage):
            counts["inactive"] += 1
            continue
        new = target.verdict(usage)
        old = base.verdict(usage) if base is not None and base.runs(usage) else None
        groups = list(_judge(usage, old, new, target, base))
        if new.undecided and not groups:
            counts["unverifiable"] += 1
            undecided.setdefault((usage.symbol, new.undecided), []).append(usage)
            continue
        counts["checked"] += 1
        counts["partly_verified"] += bool(new.doubts)
        counts["fixed"] += bool(old is not None and old.problems and new.is_fine)
        for group in groups:
            if {(usage.symbol, ""), (usage.symbol, group.problem.code)} & ignored:
                counts["ignored"] += 1
                continue
            key = (group.status, group.problem.code, usage.symbol, group.problem.key)
            found.setdefault(key, (group, []))[1].append(usage)
    result.findings = _merged(found)
    result.unverifiable = [
        {"symbol": symbol, "reason": reason, "site": sites[0].site}
        for (symbol, reason), sites in sorted(undecided.items())
    ]
    result.stats = {**counts, "symbols": len(symbols), "files": len(files)}
    return result


def _judge(usage: Usage, old: Verdict | None, new: Verdict, target: Checker, base: Checker | None) -> list[_Group]:
    if old is not None and base is not None and not new.problems and not old.problems:
        changed = [_Group(BREAK, problem, old, new) for problem in changed_kinds(usage, base, target)]
        if changed:
            return [_guarded(usage, group) for group in changed]
    if new.undecided:
        lost = old is not None and old.is_fine and new.dynamic and bool(old.path) and not usage.guarded
        if not lost or old is None or usage.kind is Kind.OVERRIDE:
            return []
        problem = Problem(
            code="MEMBER_REMOVED" if "__getattr__" in new.undecided and "class" in new.undecided else "SYMBOL_REMOVED",
            key=usage.symbol,
            message=f"{usage.symbol} was defined in {old.path} and is no more; {new.undecided}",
            certain=False,
        )
        return [_Group(BREAK, problem, old, new)]
    groups = [_Group(_status(usage, problem, old, base), problem, old, new) for problem in new.problems]
    groups = [group for group in groups if group.status]
    if old is not None and base is not None and not new.problems and not old.undecided:
        groups += [_Group(status, problem, old, new) for status, problem in pair_problems(usage, base, target)]
    return [_guarded(usage, group) for group in groups]


def _guarded(usage: Usage, group: _Group) -> _Group:
    """Behind a guard a missing name does no harm, but the guarded code is dead."""
    if not usage.guarded or group.status not in (BREAK, STALE):
        return group
    problem = Problem(
        code="STALE_GUARD",
        key=group.problem.key,
        message=f"behind a guard that can no longer be passed: {group.problem.message}",
        severity=NOTE,
        similar=group.problem.similar,
        moved_to=group.problem.moved_to,
    )
    return _Group(NOTED, problem, group.old, group.new)


def _status(usage: Usage, problem: Problem, old: Verdict | None, base: Checker | None) -> str:
    if problem.severity == NOTE:
        return NOTED
    if usage.kind is Kind.OVERRIDE and problem.code == "OVERRIDE_GONE" and (old is None or not old.is_fine):
        return ""  # never was an override: a method of ours with a name of its own
    was_wrong = old is not None and problem.identity in {each.identity for each in old.problems}
    if problem.severity == WARNING:
        return STALE if was_wrong else WARN
    if was_wrong:
        return STALE
    if usage.inferred and not problem.certain and (old is None or old.undecided):
        return WARN  # the inferred class may be the wrong one, and nothing tells that it was right before
    return BREAK if problem.severity == BREAKING else WARN


def _merged(found: Mapping[tuple[str, str, str, str], tuple[_Group, list[Usage]]]) -> list[Finding]:
    findings = []
    for (status, code, symbol, _), (group, usages) in found.items():
        problem = group.problem
        first = min(usages, key=lambda usage: (usage.file, usage.line))
        hint = {"similar": list(problem.similar), "moved_to": list(problem.moved_to)}
        extra: dict[str, Any] = {
            "status": status,
            "symbol": symbol,
            "sites": [_site(usage) for usage in sorted(usages, key=lambda usage: (usage.file, usage.line))],
            "confidence": "certain" if problem.certain and not first.inferred else "inferred",
            "candidates": hint,
            "old": {"signature": group.old.signature} if group.old is not None and group.old.signature else None,
            "new": {"signature": problem.signature} if problem.signature else None,
        }
        findings.append(
            Finding(
                code=code,
                message=f"[{status}] {problem.message}",
                severity=_SEVERITY[status],
                file=first.file,
                line=first.line,
                hint=_hint_text(problem, group.old, usages),
                extra=extra,
            )
        )
    return sorted(findings, key=lambda finding: finding.sort_key)


def _site(usage: Usage) -> dict[str, Any]:
    return {
        "file": usage.file,
        "line": usage.line,
        "qualname": usage.qualname,
        "kind": usage.kind.value,
        "guarded": usage.guarded,
    }


def _hint_text(problem: Problem, old: Verdict | None, usages: list[Usage]) -> str:
    lines = []
    if problem.moved_to:
        lines.append(f"now in: {', '.join(problem.moved_to)}")
    if problem.similar:
        lines.append(f"similar: {', '.join(problem.similar)}")
    if old is not None and old.signature and problem.signature and old.signature != problem.signature:
        lines.append(f"was {old.signature[:200]}\n    now {problem.signature[:200]}")
    others = sorted({f"{usage.file}:{usage.line}" for usage in usages})[1:4]
    if others:
        lines.append(f"also at {', '.join(others)}" + (f" and {len(usages) - 4} more" if len(usages) > 4 else ""))
    return "\n    ".join(lines)
