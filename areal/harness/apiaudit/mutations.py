# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Seeded breaks: changes a real release at the symbols we use and counts which of them the audit finds.

The harmless kinds (`C...`) are controls: every finding on them is a false alarm. Used by the tests and by the evaluation of
the harness; nothing is written.
"""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from areal.harness.apiaudit.audit import BREAK, WARN, audit
from areal.harness.apiaudit.checks.usages import Checker
from areal.harness.apiaudit.library.resolver import Library
from areal.harness.apiaudit.library.sources import Sources
from areal.harness.apiaudit.library.symbols import Symbol, What
from areal.harness.apiaudit.rewrites import (
    PLACE,
    Callee,
    Function,
    class_rewrites,
    cut,
    export_rewrites,
    function_rewrites,
    parameter_rewrites,
    reexport_rewrites,
)
from areal.harness.apiaudit.usage import Kind, Usage

_SWALLOWED = " into **kwargs"


@dataclass(frozen=True)
class Mutation:
    """One change: its kind, the symbol it hits, and the new texts of modules."""

    kind: str
    symbol: str
    overlay: dict[str, str]

    @property
    def is_control(self) -> bool:
        """Whether it is harmless for us."""
        return self.kind.startswith("C")


@dataclass
class Score:
    """How many mutations of each kind were made and how many gave a finding."""

    made: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    false_alarms: list[str] = field(default_factory=list)

    def _sum(self, counts: dict[str, int], controls: bool) -> int:
        return sum(
            number
            for kind, number in counts.items()
            if kind.startswith("C") == controls and not kind.endswith(_SWALLOWED)
        )

    @property
    def num_breaks(self) -> int:
        """Breaking mutations made."""
        return self._sum(self.made, controls=False)

    @property
    def num_swallowable(self) -> int:
        """Mutations of a keyword that `**kwargs` may still take: kept apart, since whether they break is not decidable."""
        return sum(number for kind, number in self.made.items() if kind.endswith(_SWALLOWED))

    @property
    def num_controls(self) -> int:
        """Harmless mutations made."""
        return self._sum(self.made, controls=True)

    @property
    def detection(self) -> float:
        """Share of breaking mutations found."""
        return self._sum(self.found, controls=False) / max(1, self.num_breaks)

    @property
    def false_alarm_rate(self) -> float:
        """Share of harmless mutations with a finding."""
        return self._sum(self.found, controls=True) / max(1, self.num_controls)


@dataclass(frozen=True)
class _Target:
    """A definition of theirs, and our usages of it."""

    symbol: Symbol
    usages: tuple[Usage, ...]


def score(
    sources: Sources, around: Sources | None, usages: Iterable[Usage], version: str, seed: int, limit: int
) -> Score:
    """Make at most `limit` mutations of each kind and audit each; `version` is what the release is called."""
    everything = list(usages)
    sources.modules_defining("")  # indexed once, so that every changed copy shares it
    library = Library(sources, around)
    base = Checker(library, version)
    targets = _targets(base, everything)
    made: dict[str, list[tuple[Mutation, tuple[Usage, ...]]]] = {}
    for target in targets:
        for mutation in mutations_of(library, target.symbol, target.usages):
            made.setdefault(mutation.kind, []).append((mutation, target.usages))
    result = Score()
    shuffled = random.Random(seed)
    for kind in sorted(made):
        shuffled.shuffle(made[kind])
        for mutation, concerned in made[kind][:limit]:
            _run(mutation, concerned, sources, around, base, version, result)
    return result


def _run(
    mutation: Mutation,
    usages: tuple[Usage, ...],
    sources: Sources,
    around: Sources | None,
    base: Checker,
    version: str,
    result: Score,
) -> None:
    target = Checker(Library(sources.changed(mutation.overlay), around), version)
    findings = [f for f in audit(usages, target, base).findings if f.extra["status"] in (BREAK, WARN)]
    result.made[mutation.kind] = result.made.get(mutation.kind, 0) + 1
    result.found[mutation.kind] = result.found.get(mutation.kind, 0) + bool(findings)
    if findings and mutation.is_control:
        result.false_alarms.append(f"{mutation.kind} {mutation.symbol}: {findings[0].message}")
    if not findings and not mutation.is_control and not mutation.kind.endswith(_SWALLOWED):
        result.missed.append(f"{mutation.kind} {mutation.symbol}")


def _targets(base: Checker, usages: list[Usage]) -> list[_Target]:
    """The functions and classes with one definition that usages without findings reach."""
    grouped: dict[int, tuple[Symbol, list[Usage]]] = {}
    for usage in usages:
        is_code = usage.kind in (Kind.CALL, Kind.IMPORT, Kind.ATTRIBUTE, Kind.SUBCLASS)
        if not is_code or usage.guarded or not base.runs(usage) or not base.verdict(usage).is_fine:
            continue
        symbol = base.library.resolve(usage.symbol)
        if symbol.also or symbol.what not in (What.CLASS, What.FUNCTION) or symbol.node is None:
            continue
        if symbol.module.split(".")[0] in base.library.sources.tops:
            grouped.setdefault(id(symbol.node), (symbol, []))[1].append(usage)
    return [_Target(symbol, tuple(found)) for symbol, found in grouped.values()]


def mutations_of(library: Library, symbol: Symbol, usages: tuple[Usage, ...]) -> Iterator[Mutation]:
    """Every mutation of one definition."""
    sources = library.sources
    node = symbol.node
    assert isinstance(node, Function | ast.ClassDef)
    is_member = symbol.owner is not None
    text = sources.text(symbol.module)
    inherited = is_member and _inherited_twice(library, symbol)
    if not inherited:
        yield Mutation("B5m remove method" if is_member else "B5 remove", symbol.path, {symbol.module: cut(text, node)})
    if not is_member and node in sources.tree(symbol.module).body:
        package = symbol.module if sources.is_package(symbol.module) else symbol.module.rpartition(".")[0]
        moved = f"{package}.{PLACE}"
        body = {moved: text.replace("__all__", "_all")}  # all that it needs is around it; nothing is exported
        yield Mutation("B4 move", symbol.path, {symbol.module: cut(text, node), **body})
        again = cut(text, node, f"from {moved} import {node.name}")
        yield Mutation("C3 move with re-export", symbol.path, {symbol.module: again, **body})
        rewrites = [*export_rewrites(library, symbol, node), *reexport_rewrites(library, symbol, usages)]
        yield from (Mutation(kind, symbol.path, overlay) for kind, overlay in rewrites)
    yield from _kind_mutations(text, symbol, usages, inherited)
    callee = _callee(library, symbol)
    calls = [usage for usage in usages if usage.kind is Kind.CALL and not usage.open_call]
    if callee is not None and calls:
        yield from _signature_mutations(sources, symbol.path, callee, calls)


def _kind_mutations(text: str, symbol: Symbol, usages: tuple[Usage, ...], inherited: bool) -> Iterator[Mutation]:
    calls = [usage for usage in usages if usage.kind is Kind.CALL]
    if isinstance(symbol.node, ast.ClassDef):
        made = class_rewrites(text, symbol, symbol.node, usages)
    elif isinstance(symbol.node, Function) and calls and not inherited:
        made = function_rewrites(text, symbol, symbol.node, calls)
    else:
        return
    yield from (Mutation(kind, symbol.path, overlay) for kind, overlay in made)


def _inherited_twice(library: Library, symbol: Symbol) -> bool:
    """Whether a base class would still provide the method."""
    name = symbol.path.rpartition(".")[2]
    owner = symbol.owner
    if owner is None:
        return False
    defining = [b for b in library.classes.order(owner) if library.classes.own_statements(b, name)]
    return len(defining) > 1 or any(base.what is What.EXTERNAL for base in library.classes.order(owner))


def _callee(library: Library, symbol: Symbol) -> Callee | None:
    """The function whose parameters a call of the symbol binds."""
    if isinstance(symbol.node, Function):
        num_receivers = 0 if symbol.owner is None or _is_static(symbol.node) else 1
        if num_receivers and not symbol.bound:
            return None  # called on the class with an instance of ours
        return Callee(symbol.module, symbol.node, num_receivers)
    for base in library.classes.order(symbol):
        for statement in library.classes.own_statements(base, "__init__"):
            inside = base.module.split(".")[0] in library.sources.tops
            return Callee(base.module, statement, 1) if inside and isinstance(statement, Function) else None
    return None


def _is_static(node: Function) -> bool:
    return any(ast.unparse(decorator) == "staticmethod" for decorator in node.decorator_list)


def _signature_mutations(sources: Sources, path: str, callee: Callee, calls: list[Usage]) -> Iterator[Mutation]:
    text = sources.text(callee.module)
    node = callee.node
    named = {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
    swallows = node.args.kwarg is not None
    passed = sorted({keyword for usage in calls for keyword in usage.keywords if keyword in named})

    def mutated(change: Callable[[ast.arguments], None]) -> dict[str, str]:
        changed = copy.deepcopy(node)
        change(changed.args)
        return {callee.module: cut(text, node, ast.unparse(changed))}

    for keyword in passed[:2]:
        mark = _SWALLOWED if swallows else ""
        yield Mutation(f"B1 rename keyword{mark}", path, mutated(lambda a, k=keyword: _rename(a, k)))
        yield Mutation(f"B2 remove keyword{mark}", path, mutated(lambda a, k=keyword: _remove(a, k)))
    yield Mutation("B3 new required", path, mutated(lambda a: _add(a, required=True)))
    yield Mutation("C1 new optional", path, mutated(lambda a: _add(a, required=False)))
    used = {keyword for usage in calls for keyword in usage.keywords}
    free = [argument.arg for argument in node.args.kwonlyargs if argument.arg not in used]
    if free and all(default is not None for default in node.args.kw_defaults):
        yield Mutation("C2 rename unused optional", path, mutated(lambda a: _rename(a, free[0])))
    for kind, overlay in parameter_rewrites(text, callee, calls):
        yield Mutation(kind, path, overlay)
    arity = max((usage.unpacks or 0 for usage in calls), default=0)
    returns = "" if node.returns is None else ast.unparse(node.returns)
    if arity and returns.lower().startswith("tuple[") and "..." not in returns:
        changed = copy.deepcopy(node)
        changed.returns = ast.parse(returns[:-1] + ", int]", mode="eval").body
        yield Mutation("B6 longer result", path, {callee.module: cut(text, node, ast.unparse(changed))})


def _rename(arguments: ast.arguments, name: str) -> None:
    for argument in (*arguments.args, *arguments.kwonlyargs):
        if argument.arg == name:
            argument.arg = f"renamed_{name}"


def _remove(arguments: ast.arguments, name: str) -> None:
    for index, argument in enumerate(arguments.kwonlyargs):
        if argument.arg == name:
            del arguments.kwonlyargs[index], arguments.kw_defaults[index]
            return
    first_default = len(arguments.args) - len(arguments.defaults)
    for index, argument in enumerate(arguments.args):
        if argument.arg == name:
            del arguments.args[index]
            if index >= first_default:
                del arguments.defaults[index - first_default]
            return


def _add(arguments: ast.arguments, *, required: bool) -> None:
    arguments.kwonlyargs.append(ast.arg("added_by_mutation"))
    arguments.kw_defaults.append(None if required else ast.Constant(None))
