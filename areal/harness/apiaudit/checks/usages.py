# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The verdict on any usage at one release."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace

from areal.harness.apiaudit.checks.calls import check_call
from areal.harness.apiaudit.checks.kinds import use_problems
from areal.harness.apiaudit.checks.replacements import check_replacement
from areal.harness.apiaudit.checks.requests import check_flag, check_route
from areal.harness.apiaudit.checks.verdict import BREAKING, WARNING, Problem, Verdict
from areal.harness.apiaudit.library.resolver import Library
from areal.harness.apiaudit.library.servers import Server
from areal.harness.apiaudit.library.symbols import Symbol, What
from areal.harness.apiaudit.usage import Kind, Usage


class Checker:
    """Judges usages at one release. `accepts` lists keywords that callees with `**kwargs` are known to take."""

    def __init__(
        self,
        library: Library,
        version: str,
        accepts: Mapping[str, list[str]] | None = None,
        nested: Mapping[str, str] | None = None,
    ) -> None:
        self.library = library
        self.version = version
        self._accepts = {chain: frozenset(names) for chain, names in (accepts or {}).items()}
        self._server = Server(library, nested or {})
        self._verdicts: dict[tuple[object, ...], Verdict] = {}

    def verdict(self, usage: Usage) -> Verdict:
        """The verdict; equal usages are judged once."""
        key = usage.shape_key()
        if key not in self._verdicts:
            self._verdicts[key] = self._judge(usage)
        return self._verdicts[key]

    def runs(self, usage: Usage) -> bool:
        """Whether the version tests around a usage let it run at this release."""
        if usage.kind is Kind.GUARD:
            return True
        tests = [test for test in usage.tests if usage.symbol.split(".")[0] == test.package.split(".")[0]]
        return all(test.holds_at(self.version) is not False for test in tests)

    def _judge(self, usage: Usage) -> Verdict:
        if usage.kind is Kind.ROUTE:
            return check_route(usage, self._server)
        if usage.kind is Kind.FLAG:
            return check_flag(usage, self._server)
        if usage.kind is Kind.GUARD:
            return check_guard(usage, self.version)
        symbol = self.library.resolve(usage.symbol)
        if symbol.what is What.MISSING:
            return self._missing(usage, symbol)
        if not symbol.is_found:
            return Verdict(undecided=symbol.note or symbol.what.value, dynamic=symbol.dynamic, path=symbol.path)
        problems = use_problems(usage, self.library, symbol)
        if problems:
            return Verdict(problems=tuple(problems), path=symbol.path)
        if usage.kind is Kind.CALL:
            return check_call(usage, self.library, symbol, self._accepts.get(usage.symbol, frozenset()))
        if usage.kind in (Kind.PATCH, Kind.OVERRIDE):
            return check_replacement(usage, self.library, symbol)
        return Verdict(path=symbol.path)

    def _missing(self, usage: Usage, symbol: Symbol) -> Verdict:
        owner, _, name = usage.symbol.rpartition(".")
        if usage.kind is Kind.OVERRIDE:
            problem = Problem(code="OVERRIDE_GONE", key=name, message=f"{owner} has no {name!r} for ours to override")
            return Verdict(problems=(problem,), path=symbol.path)
        is_member = symbol.note.startswith("class ")
        lost = symbol.path.rpartition(".")[2]
        problem = Problem(
            code="MEMBER_REMOVED" if is_member else "SYMBOL_REMOVED",
            key=lost,
            message=f"{usage.symbol}: {symbol.note}",
            severity=WARNING if usage.kind is Kind.STRING else BREAKING,
            similar=tuple(difflib.get_close_matches(lost, list(self._neighbours(symbol)), n=2, cutoff=0.75)),
            moved_to=() if is_member else tuple(self.library.moved_to(lost)),
            certain=not usage.inferred,
        )
        return Verdict(problems=(problem,), path=symbol.path)

    def _neighbours(self, symbol: Symbol) -> list[str]:
        return (
            [name for name in self.library.sources.names(symbol.module) if name != "__all__"] if symbol.module else []
        )


def check_guard(usage: Usage, version: str) -> Verdict:
    """A version compared as a string: wrong where string order and version order disagree, an accident elsewhere."""
    (test,) = usage.tests
    if not test.textual:
        return Verdict()
    meant = replace(test, textual=False)
    is_now, should_be = test.holds_at(version), meant.holds_at(version)
    wrong = should_be is not None and is_now != should_be
    message = f"{test} compares strings: at {version} it is {is_now}"
    message += f", as versions it would be {should_be}" if wrong else ", by luck; compare packaging.version.Version"
    severity = BREAKING if wrong else WARNING
    return Verdict(
        problems=(Problem(code="GUARD_STRING_COMPARISON", key=f"{test} {wrong}", message=message, severity=severity),)
    )
