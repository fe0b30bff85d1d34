# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the commands that a text names can be run (H022): areal's subcommands, actions and flags, make targets, extras,
pytest markers, pre-commit hooks; and whether the skills that they name exist (H023).
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterable, Iterator

from areal.harness.apiaudit.packages import PACKAGES
from areal.harness.core.findings import Finding, Fix
from areal.harness.refs.facts import Facts, only_close
from areal.harness.refs.paths import check_path, is_placeholder

PROGRAMS = ("areal", "make", "pytest", "python", "python3", "pip", "uv", "pre-commit", "lint-imports", "ruff")
ASSIGNMENT = re.compile(r"[A-Z_][A-Z0-9_]*=")
EXTRA = re.compile(r"(?:^|[\s\"'`])(?:areal|\.)\[(?P<extras>[\w, -]+)\]")
MARK = re.compile(r"pytest\.mark\.(?P<marker>\w+)")
API_ACTIONS = ("audit", "diff", "discover", "probe")
SKILL_ACTIONS = ("show", "run", "verify", "selftest")


def is_command(text: str) -> bool:
    """Whether inline code is a command line of a program that is known here."""
    words = _words(text)
    return len(words) > 1 and _program(words[0]) in PROGRAMS


def _program(word: str) -> str:
    return word.rpartition("/")[2] if word.startswith((".venv/bin/", "bin/", "./")) else word


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line.removeprefix("$ "), comments=True)
    except ValueError:  # an open quote: a line of a longer command
        words = line.split()
    while words and (ASSIGNMENT.match(words[0]) or words[0] == "sudo"):
        words.pop(0)
    return words


def check_command(line: str, base: str, facts: Facts) -> Iterator[Finding]:
    """Findings for one shell line, which may hold several commands."""
    yield from check_extras(line, base, facts)
    for part in re.split(r"\s(?:&&|\|\||[|;])\s", line):
        words = _words(part)
        if not words:
            continue
        program = _program(words[0])
        if program in ("python", "python3") and words[1:3] == ["-m", "pytest"]:
            program, words = "pytest", words[2:]
        if program in ("python", "python3") and words[1:2] == ["-m"]:
            module = words[2] if len(words) > 2 else ""
            if module.split(".")[0] in facts.symbols.top_packages and not facts.symbols.exists(module):
                yield Finding(code="H021", message=f"module {module} not found", file=base)
        check = CHECKS.get(program)
        if check:
            yield from check(words[1:], base, facts)
        if program in PROGRAMS:
            for word in words[1:]:
                yield from check_path(word, base, facts)


def _unknown(what: str, name: str, known: Iterable[str], base: str) -> Finding:
    known = sorted(known)
    close = only_close(name, known)
    fix = Fix(kind="replace", old=name, new=close) if close else None
    return Finding(
        code="H022", message=f"{what} {name!r} does not exist; there are: {', '.join(known)}", file=base, fix=fix
    )


def _is_free(word: str) -> bool:
    return is_placeholder(word) or word.isupper() or word.startswith("[") or "=" in word.lstrip("-")


def _areal(words: list[str], base: str, facts: Facts) -> Iterator[Finding]:
    words = [word.strip("[]") for word in words]
    if not words or _is_free(words[0]) or words[0] in ("--help", "-h"):
        return
    command = words[0]
    if command not in facts.commands:
        yield _unknown("areal command", command, facts.commands, base)
        return
    surface = facts.surface(command)
    actions = words[1].split("|") if len(words) > 1 and surface.actions and not words[1].startswith("-") else []
    for action in actions:
        if not _is_free(action) and action not in surface.actions:
            yield _unknown(f"action of areal {command}", action, surface.actions, base)
    known = surface.common.union(*(surface.flags(action) for action in actions or [None]))
    for word in words[1:]:
        flag = word.partition("=")[0]
        if re.match(r"--?[A-Za-z]", flag) and flag not in known:
            yield _unknown(f"flag of areal {' '.join([command, *actions])}", flag, known, base)
    if command == "skill" and actions and actions[0] in SKILL_ACTIONS and len(words) > 2:
        yield from check_name("skill", words[2], base, facts)
        yield from _skill_inputs(words[2:], base, facts)
    if command == "api" and actions and actions[0] in API_ACTIONS:
        for name in (word.partition("==")[0] for word in words[2:3] if not word.startswith("-")):
            if not _is_free(name) and name not in PACKAGES:
                yield _unknown("package with a contract", name, PACKAGES, base)


def _skill_inputs(words: list[str], base: str, facts: Facts) -> Iterator[Finding]:
    """`--set KEY=VALUE` of a skill that exists names one of its inputs."""
    known = facts.skill_inputs(words[0])
    for option, value in itertools.pairwise(words):
        key = value.partition("=")[0]
        if option == "--set" and known and not is_placeholder(key) and not key.isupper() and key not in known:
            yield _unknown(f"input of skill {words[0]}", key, known, base)


def _script(words: list[str], base: str, facts: Facts) -> Iterator[Finding]:
    """The flags of a script of this repository occur in it, or in the configuration that it reads."""
    script = words[0] if words else ""
    if script not in facts.tree.file_set:
        return
    known = facts.flags_in(script)
    for word in words[1:]:
        flag = word.partition("=")[0]
        if re.fullmatch(r"--[a-z][\w-]*", flag) and flag not in known:
            yield _unknown(f"flag of {script}", flag, known, base)


def _make(words: list[str], base: str, facts: Facts) -> Iterator[Finding]:
    for word in words:
        if not word.startswith("-") and not _is_free(word) and word not in facts.make_targets:
            yield _unknown("make target", word, facts.make_targets, base)


def _pytest(words: list[str], base: str, facts: Facts) -> Iterator[Finding]:
    for option, value in itertools.pairwise(words):
        if option == "-m" and not is_placeholder(value):
            for marker in re.findall(r"[a-z_]\w*", value):
                if marker not in facts.markers | {"and", "or", "not"}:
                    yield _unknown("pytest marker", marker, facts.markers, base)


def _pre_commit(words: list[str], base: str, facts: Facts) -> Iterator[Finding]:
    if words[:1] == ["run"]:
        for word in words[1:2]:
            if not word.startswith("-") and not _is_free(word) and word not in facts.pre_commit_hooks:
                yield _unknown("pre-commit hook", word, facts.pre_commit_hooks, base)


def _uv(words: list[str], base: str, facts: Facts) -> Iterator[Finding]:
    for option, value in itertools.pairwise(words):
        if option == "--extra" and value not in facts.extras and not _is_free(value):
            yield _unknown("extra", value, facts.extras, base)


def check_extras(text: str, base: str, facts: Facts) -> Iterator[Finding]:
    """Findings for `areal[extra]` and for `pytest.mark.name` anywhere in a text."""
    for match in EXTRA.finditer(text):
        for extra in match["extras"].split(","):
            if extra.strip() not in facts.extras:
                yield _unknown("extra", extra.strip(), facts.extras, base)
    for match in MARK.finditer(text):
        if match["marker"] not in facts.markers:
            yield _unknown("pytest marker", match["marker"], facts.markers, base)


def check_name(kind: str, name: str, base: str, facts: Facts) -> Iterator[Finding]:
    """A finding (H023) for a skill, expert or rule that does not exist."""
    if name.startswith("-") or _is_free(name) or name in facts.names[kind]:
        return
    close = only_close(name, facts.names[kind])
    fix = Fix(kind="replace", old=name, new=close) if close else None
    known = ", ".join(sorted(facts.names[kind])) or "none"
    yield Finding(code="H023", message=f"{kind} {name!r} does not exist; there are: {known}", file=base, fix=fix)


CHECKS = {
    "areal": _areal,
    "make": _make,
    "pytest": _pytest,
    "pre-commit": _pre_commit,
    "uv": _uv,
    "python": _script,
    "python3": _script,
}
