# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A finding of a check, and the report of a command: the JSON envelope that every harness command prints.

Findings sort by severity, file and line, so that two runs of a command differ only where their results differ.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from areal.harness.core.errors import Exit

SEVERITIES = ("error", "warning", "note")
ENVELOPE_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Fix:
    """What mends a finding: replace `old` by `new` in the finding's line, or run a command."""

    kind: str  # replace | run
    old: str = ""
    new: str = ""
    command: str = ""

    def as_dict(self) -> dict[str, str]:
        """The fields that are set."""
        return {name: value for name, value in vars(self).items() if value}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a check found: a stable code, where, what is wrong, and how it is mended.

    `extra` holds what only one tool reports (`status`, `symbol`, `sites`, `old`, `new`, ...) and is merged into the JSON.
    """

    code: str
    message: str
    severity: str = "error"
    file: str = ""
    line: int = 0
    fix: Fix | None = None
    hint: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Four hexadecimal digits that stay when the line moves."""
        key = "\0".join((self.code, self.file, self.message))
        return hashlib.sha256(key.encode()).hexdigest()[:4]

    @property
    def place(self) -> str:
        """`file:line`, as far as known."""
        return f"{self.file}:{self.line}" if self.file and self.line else self.file

    @property
    def sort_key(self) -> tuple[int, str, int, str, str]:
        """Severity, file, line, code, message."""
        return SEVERITIES.index(self.severity), self.file, self.line, self.code, self.message

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON; empty fields are left out."""
        named = {"file": self.file, "line": self.line, "hint": self.hint}
        out: dict[str, Any] = {"id": self.id, "code": self.code, "severity": self.severity, "message": self.message}
        out |= {name: value for name, value in named.items() if value}
        if self.fix:
            out["fix"] = self.fix.as_dict()
        return out | dict(self.extra)

    def __str__(self) -> str:
        place = f"{self.place}: " if self.file else ""
        fix = ""
        if self.fix and self.fix.kind == "replace":
            fix = f"\n    use {self.fix.new} (areal harness check --fix writes it)"
        elif self.fix:
            fix = f"\n    run: {self.fix.command}"
        hint = f"\n    {self.hint}" if self.hint else ""
        return f"{self.code} {place}{self.message}{hint}{fix}"


@dataclass(kw_only=True)
class Report:
    """The result of one run of a command. `exit` follows from the findings unless it is set.

    `result` holds what the tool returns besides findings; `next` the commands to run now, the most useful first.
    """

    tool: str
    input: Mapping[str, Any] = field(default_factory=dict)
    stats: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    next: list[str] = field(default_factory=list)
    exit: Exit | None = None
    error: dict[str, Any] | None = None
    started: float = field(default_factory=time.monotonic)

    def add(self, findings: Iterable[Finding]) -> None:
        """Append findings."""
        self.findings.extend(findings)

    @property
    def exit_code(self) -> Exit:
        """1 when an error was found, unless a code was set."""
        if self.exit is not None:
            return self.exit
        return Exit.FINDINGS if any(finding.severity == "error" for finding in self.findings) else Exit.DONE

    def envelope(self) -> dict[str, Any]:
        """The JSON object of the command."""
        code = self.exit_code
        out: dict[str, Any] = {
            "tool": self.tool,
            "version": ENVELOPE_VERSION,
            "ok": code == Exit.DONE,
            "exit": int(code),
            "seconds": round(time.monotonic() - self.started, 3),
            "input": dict(self.input),
            "stats": self.stats,
            "findings": [finding.as_dict() for finding in sorted(self.findings, key=lambda f: f.sort_key)],
            "next": self.next,
        }
        if self.error:
            out["error"] = self.error
        return out | self.result
