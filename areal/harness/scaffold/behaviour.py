# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What functions do on made-up arguments, and the few arguments that tell a module from its mutants.

Functions that touch files, processes or the network are never called. Runs in a process of its own with limits.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import importlib
import inspect
import logging
import signal
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from areal.harness.scaffold.mutants import mutants
from areal.harness.scaffold.values import MAX_SOURCE_CHARS, Untestable, candidates, constants_of, source_of


class TookTooLong(Exception):
    """A call did not end in time."""


CALL_DEADLINE_S = 0.5
MIN_CASES = 3
ACCIDENTS = (TookTooLong, TypeError, AttributeError, NameError, RecursionError, MemoryError, AssertionError)
OUTSIDE_MODULES = {"os", "subprocess", "shutil", "socket", "signal", "threading", "multiprocessing", "random", "time"}
OUTSIDE_CALLS = {
    *("open", "exec", "eval", "input", "print", "unlink", "rmtree", "rename", "replace_file", "mkdir", "touch"),
    *(
        "write_text",
        "write_bytes",
        "read_text",
        "read_bytes",
        "rglob",
        "glob",
        "iterdir",
        "exists",
        "is_file",
        "is_dir",
    ),
    *("system", "popen", "run", "kill", "sleep", "now", "time", "monotonic", "urandom", "token_hex", "connect"),
}


@dataclass(frozen=True)
class Case:
    """Arguments with the source of what comes back, or the exception class that is raised."""

    function: str
    arguments: tuple[Any, ...]
    expected: str = ""
    by_repr: bool = False
    error: type[Exception] | None = None


@dataclass
class Study:
    """Chosen cases by function, functions that were left out with the reason, and how many mutants the cases kill."""

    cases: dict[str, list[Case]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    total: int = 0
    killed: int = 0
    survivors: list[str] = field(default_factory=list)


def study(module_name: str, symbol: str = "") -> Study:
    """Try the public functions of a module (or one of them) and choose the cases that kill most of its mutants."""
    module = importlib.import_module(module_name)
    logging.disable(logging.CRITICAL)  # hundreds of calls with odd arguments
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    constants = constants_of(source)
    found = Study()
    tried: list[Case] = []
    for name, function in public_functions(module, symbol):
        try:
            _refuse_outside(name, source)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                cases = [case for args in candidates(function, constants) if (case := observe(module, name, args))]
            if not cases:
                raise Untestable("what it returns has no short source text, or it always fails")
        except Untestable as reason:
            found.left_out[name] = str(reason)
            continue
        tried += cases
        found.cases[name] = []
    if tried:
        _choose(module, source, tried, found)
    return found


def public_functions(module: types.ModuleType, symbol: str) -> list[tuple[str, Callable[..., Any]]]:
    """The plain functions that a module defines and offers."""
    members = [(name, value) for name, value in vars(module).items() if inspect.isfunction(value)]
    own = [(name, value) for name, value in members if value.__module__ == module.__name__]
    if symbol:
        return [(name, value) for name, value in own if name == symbol]
    plain = [item for item in own if not item[0].startswith("_") and not inspect.iscoroutinefunction(item[1])]
    return [item for item in plain if not inspect.isgeneratorfunction(item[1])]


def _refuse_outside(name: str, source: str) -> None:
    """`Untestable` when the function, or one of the module's that it calls, reaches out of the process."""
    functions = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    pending, seen = [name], set()
    while pending:
        current = pending.pop()
        if current in seen or current not in functions:
            continue
        seen.add(current)
        for node in ast.walk(functions[current]):
            word = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
            if word in OUTSIDE_CALLS or (isinstance(node, ast.Name) and word in OUTSIDE_MODULES):
                raise Untestable(f"it reaches out of the process ({word}); write its test by hand")
            pending.append(word)


def observe(module: types.ModuleType, name: str, arguments: tuple[Any, ...]) -> Case | None:
    """What a call gives, twice the same and without changing its arguments; None for anything that is no fact to keep."""
    if source_of(arguments) is None:
        return None
    first, second = (_outcome(module, name, arguments) for _ in range(2))
    if first is None or first != second:
        return None
    kind, value = first
    if kind == "error":
        return Case(name, arguments, error=value) if not issubclass(value, ACCIDENTS) else None
    return Case(name, arguments, expected=value, by_repr=kind == "repr")


def _outcome(module: types.ModuleType, name: str, arguments: tuple[Any, ...]) -> tuple[str, Any] | None:
    """`("value", source)`, `("repr", text)` for what has no source, `("error", class)`; None for what is no fact."""
    given = copy.deepcopy(arguments)
    value: Any = None
    with Caught() as caught, deadline(CALL_DEADLINE_S):
        value = vars(module)[name](*given)
    if caught.kind is not None:
        return "error", caught.kind
    if repr(given) != repr(arguments):
        return None
    text = source_of(value)
    if text is not None:
        return "value", text
    text = repr(value)
    return None if " at 0x" in text or len(text) > MAX_SOURCE_CHARS else ("repr", text)


class Caught:
    """Keeps the class of what the block raises: the code under study may raise anything, and that is the result."""

    def __init__(self) -> None:
        self.kind: type[Exception] | None = None

    def __enter__(self) -> Caught:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool:
        if kind is None or not issubclass(kind, Exception):
            return False
        self.kind = kind
        return True


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise `TookTooLong` in the main thread when the block takes longer."""

    def end(*_: Any) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _choose(module: types.ModuleType, source: str, tried: list[Case], found: Study) -> None:
    """Cases that together kill every mutant that any case kills, few of them, and at least some for each function."""
    left: dict[str, set[int]] = {}
    warnings.simplefilter("ignore")
    lines = _lines_behind(list(found.cases), source)
    for mutant in mutants(source):
        if mutant.line not in lines:
            continue  # of a function that is not tried
        changed = _load(module, mutant.source)
        killers = set(range(len(tried))) if changed is None else _killers(changed, tried)
        left[f"{Path(str(module.__file__)).name}:{mutant.line} {mutant.what}"] = killers
    reachable = {label: killers for label, killers in left.items() if killers}
    found.total, found.killed = len(left), len(reachable)
    found.survivors = [label for label in left if label not in reachable]
    chosen: list[int] = []
    while reachable:
        counts = [sum(index in killers for killers in reachable.values()) for index in range(len(tried))]
        best = max(range(len(tried)), key=lambda index: (counts[index], -len(repr(tried[index].arguments))))
        chosen.append(best)
        reachable = {label: killers for label, killers in reachable.items() if best not in killers}
    for name in found.cases:
        own = [index for index, case in enumerate(tried) if case.function == name]
        extra = [index for index in own if index not in chosen]
        chosen += extra[: max(0, MIN_CASES - sum(index in chosen for index in own))]
        found.cases[name] = [tried[index] for index in sorted(set(chosen)) if tried[index].function == name]


def _lines_behind(names: list[str], source: str) -> set[int]:
    """The lines of functions, and of what they use of the module's own."""
    owned: dict[str, ast.stmt] = {}
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            owned[node.name] = node
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            owned |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    pending, seen, lines = list(names), set(), set()
    while pending:
        name = pending.pop()
        if name in owned and name not in seen:
            seen.add(name)
            node = owned[name]
            lines |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
            pending += [inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)]
    return lines


def _load(module: types.ModuleType, source: str) -> types.ModuleType | None:
    """A module of a changed source; None when it does not even load."""
    changed = types.ModuleType(module.__name__)
    changed.__file__, changed.__package__ = module.__file__, module.__package__
    with Caught() as caught, deadline(10 * CALL_DEADLINE_S):
        exec(compile(source, str(module.__file__), "exec"), vars(changed))
    return changed if caught.kind is None else None


def _killers(changed: types.ModuleType, tried: list[Case]) -> set[int]:
    """The cases that a changed module does not keep; the first one without an end is the last that is tried."""
    killers = set()
    for index, case in enumerate(tried):
        outcome = _outcome(changed, case.function, case.arguments)
        if not _agrees(outcome, case):
            killers.add(index)
        if outcome == ("error", TookTooLong):
            break
    return killers


def _agrees(outcome: tuple[str, Any] | None, case: Case) -> bool:
    if case.error is None:
        return outcome == ("repr" if case.by_repr else "value", case.expected)
    return outcome is not None and outcome[0] == "error" and outcome[1].__qualname__ == case.error.__qualname__
