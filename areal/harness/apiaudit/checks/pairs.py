# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What only the comparison of two releases shows: changed kinds and defaults, reordered parameters, dead version tests."""

from __future__ import annotations

from collections.abc import Iterator

from areal.harness.apiaudit.checks.kinds import kind_pairs
from areal.harness.apiaudit.checks.usages import Checker
from areal.harness.apiaudit.checks.verdict import BREAKING, NOTE, WARNING, Problem
from areal.harness.apiaudit.library.signatures import KWARGS, Signature, signature_of
from areal.harness.apiaudit.usage import Kind, Usage


def pair_problems(usage: Usage, base: Checker, target: Checker) -> Iterator[tuple[str, Problem]]:
    """Status and problem of each difference that does not break the call by itself."""
    if usage.kind is Kind.GUARD:
        yield from _dead_guard(usage, base, target)
    if usage.kind is not Kind.CALL:
        return
    before = signature_of(base.library, base.library.resolve(usage.symbol))
    after = signature_of(target.library, target.library.resolve(usage.symbol))
    if isinstance(before, Signature) and isinstance(after, Signature):
        yield from _defaults(usage, before, after)
        yield from _order(usage, before, after)
        yield from _now_swallowed(usage, before, after, target)


def changed_kinds(usage: Usage, base: Checker, target: Checker) -> Iterator[Problem]:
    """Breaks by what the name is now, also where its parameters cannot be judged any more."""
    before, after = base.library.resolve(usage.symbol), target.library.resolve(usage.symbol)
    if before.is_found and after.is_found:
        yield from kind_pairs(usage, before, after, base.library, target.library)


def _dead_guard(usage: Usage, base: Checker, target: Checker) -> Iterator[tuple[str, Problem]]:
    (test,) = usage.tests
    answers = {test.holds_at(base.version), test.holds_at(target.version)}
    if len(answers) == 1 and None not in answers and base.version != target.version:
        message = f"{test} is {answers.pop()} at {base.version} and at {target.version}: the other branch is dead"
        yield "NOTE", Problem(code="GUARD_DEAD", key=str(test), message=message, severity=NOTE)


def _defaults(usage: Usage, before: Signature, after: Signature) -> Iterator[tuple[str, Problem]]:
    if usage.open_call:
        return
    given = {parameter.name for parameter in after.positional[: usage.num_positional]} | set(usage.keywords)
    for parameter in after.parameters:
        old = next((each for each in before.parameters if each.name == parameter.name), None)
        if parameter.name in given or old is None or old.default is None or parameter.default is None:
            continue
        if _plain(old.default) != _plain(parameter.default):
            message = (
                f"{usage.symbol}({parameter.name}=) is left to its default: {old.default} becomes {parameter.default}"
            )
            yield (
                "NOTE",
                Problem(
                    code="DEFAULT_CHANGED", key=parameter.name, message=message, severity=NOTE, signature=str(after)
                ),
            )


def _plain(default: str) -> str:
    return default.replace('"', "'").replace(" ", "")


def _order(usage: Usage, before: Signature, after: Signature) -> Iterator[tuple[str, Problem]]:
    names = [parameter.name for parameter in after.positional]
    for index, old in enumerate(before.positional[: usage.num_positional]):
        if index < len(names) and names[index] != old.name and old.name in names:
            message = f"{usage.symbol}(): our argument {index + 1} filled {old.name!r} and now fills {names[index]!r}"
            status = "BREAK" if after.function is not None else "NOTE"  # the order of fields is no promise of a class
            severity = BREAKING if after.function is not None else NOTE
            yield (
                status,
                Problem(code="PARAM_REORDERED", key=old.name, message=message, severity=severity, signature=str(after)),
            )


def _now_swallowed(usage: Usage, before: Signature, after: Signature, target: Checker) -> Iterator[tuple[str, Problem]]:
    """A keyword that had a parameter of its own, and now falls into `**kwargs` where its fate cannot be followed."""
    doubts = target.verdict(usage).doubts
    for keyword in usage.keywords:
        if before.get(keyword) is None or after.get(keyword) is not None or not after.has(KWARGS):
            continue
        message = f"{usage.symbol}({keyword}=) had a parameter of its own and now falls into **kwargs"
        if keyword in doubts:
            severity, status = WARNING, "WARN"
        else:
            severity, status = NOTE, "NOTE"
            message += ", where it is still read"
        yield (
            status,
            Problem(code="KWARG_SWALLOWED", key=keyword, message=message, severity=severity, signature=str(after)),
        )
