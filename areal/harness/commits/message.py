# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A commit message: checked against the closed lists, or begun from the staged files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from areal.harness.commits.scopes import Scopes
from areal.harness.core.findings import Finding

HEADER = re.compile(r"(?P<type>[A-Za-z]+)(?:\((?P<scope>[^()]*)\))?(?P<breaking>!)?: (?P<subject>\S.*)")
MAX_SUBJECT = 72
# Made by git or by machines, and taken as they are.
MACHINE_MADE = re.compile(r"(?:Merge |Revert \"|fixup! |squash! |amend! )")
SCISSORS = "# ------------------------ >8 ------------------------"
PAST_TENSE = re.compile(
    r"(?:added|fixed|removed|changed|updated|adds|fixes|removes|changes|updates|adding|fixing|removing|updating)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Inferred:
    """What the files say about a change's message."""

    type: str
    scope: str | None

    @property
    def header(self) -> str:
        """The beginning of the subject line."""
        return f"{self.type}({self.scope}): " if self.scope else f"{self.type}: "


def clean(text: str) -> str:
    """A message as git stores it: without comments and what follows the scissors."""
    lines = text.split(SCISSORS)[0].splitlines()
    return "\n".join(line.rstrip() for line in lines if not line.startswith("#")).strip("\n")


def check_message(
    text: str, scopes: Scopes, lines: Mapping[str, int], added: frozenset[str] = frozenset()
) -> Iterator[Finding]:
    """What is wrong with a message for a change of these files (empty: unknown), of which some are new."""
    body = clean(text).splitlines()
    header = body[0] if body else ""
    if MACHINE_MADE.match(header):
        return
    match = HEADER.fullmatch(header)
    if match is None:
        inferred = infer(scopes, lines, added)
        message = "the message is empty" if not header else f"{header[:60]!r} is not `type(scope): subject`"
        yield _finding("C001", message, f"begin with {inferred.header!r}" if lines else _listed(scopes.types))
        return
    if match["type"] not in scopes.types:
        hint = f"use {match['type'].lower()}" if match["type"].lower() in scopes.types else _listed(scopes.types)
        yield _finding("C002", f"type {match['type']!r} is not in .agents/scopes.yaml", hint)
    yield from _check_scope(match["scope"], scopes, lines)
    yield from _check_subject(match["subject"])
    if len(body) > 1 and body[1]:
        yield _finding("C005", "the second line is not empty", "leave a line between subject and body", 2)
    if match["breaking"] and not any(line.startswith(("BREAKING CHANGE: ", "BREAKING-CHANGE: ")) for line in body):
        yield _finding(
            "C006", "`!` without a footer that says what breaks", "add: BREAKING CHANGE: what to write instead"
        )


def _check_scope(scope: str | None, scopes: Scopes, lines: Mapping[str, int]) -> Iterator[Finding]:
    if scope is None:
        return
    fitting = scopes.of_change(lines)
    advice = f"for these files use: {fitting}" if fitting else "for these files write none"
    if scope not in scopes.globs:
        hint = advice if lines else _listed(scopes.globs)
        yield _finding("C003", f"scope {scope!r} is not in .agents/scopes.yaml", hint)
    elif not scopes.accepts(scope, lines):
        yield _finding("C003", f"no changed file has the scope {scope!r}", advice)


def _check_subject(subject: str) -> Iterator[Finding]:
    if len(subject) > MAX_SUBJECT:
        yield _finding(
            "C004", f"the subject has {len(subject)} characters, at most {MAX_SUBJECT}", "say the rest in the body"
        )
    if subject.endswith("."):
        yield _finding("C004", "the subject ends in a full stop", "leave it out")
    if match := PAST_TENSE.match(subject):
        yield _finding(
            "C004", f"the subject begins with {match[0]!r}", "write what the commit does, as an order: add, fix, remove"
        )


def _finding(code: str, message: str, hint: str, line: int = 1) -> Finding:
    return Finding(code=code, message=message, hint=hint, extra={"message_line": line})


def _listed(names: object) -> str:
    return "one of " + ", ".join(names)  # type: ignore[arg-type]


def infer(scopes: Scopes, lines: Mapping[str, int], added: frozenset[str] = frozenset()) -> Inferred:
    """Type and scope of a change. Only what the files prove decides the type; between feat, fix, perf and refactor an added
    file of the package says feat, and otherwise it is called fix: people know better."""
    kinds = {_kind(path) for path in lines}
    if kinds <= {"test"} and kinds:
        kind = "test"
    elif kinds <= {"docs", "test"} and kinds:
        kind = "docs"
    elif kinds <= {"ci", "docs", "test"} and kinds:
        kind = "ci"
    elif kinds <= {"build", "ci", "docs", "test"} and kinds:
        kind = "build"
    else:
        kind = "feat" if any(_kind(path) == "code" for path in added) else "fix"
    scope = scopes.of_change(lines)
    return Inferred(kind, None if scope == kind or (kind, scope) == ("test", "tests") else scope)


def _kind(path: str) -> str:
    if path.startswith("tests/"):
        return "test"
    if path.startswith("docs/") or path in ("LICENSE", "README.md"):
        return "docs"
    if path.startswith((".ci/", ".github/", ".pre-commit")):
        return "ci"
    return (
        "build" if re.match(r"pyproject.*\.toml|Makefile|\.gitignore|(?:locks|requirements|docker)/", path) else "code"
    )
