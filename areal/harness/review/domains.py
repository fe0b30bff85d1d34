# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The review domains of `.agents/domains.yaml`, and which of them a file belongs to. Paths decide, code only refines."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from areal.harness.core.documents import read_yaml
from areal.harness.core.tree import Tree, translate_glob

DOMAINS_FILE = Path(".agents/domains.yaml")
SEVERITIES = ("critical", "high", "medium", "low")


@dataclass(frozen=True)
class Signal:
    """A reason for which a file belongs to a domain: its path, and with `code` also a changed line."""

    id: str
    paths: tuple[re.Pattern[str], ...]
    globs: tuple[str, ...]
    code: re.Pattern[str] | None

    def fits(self, path: str) -> bool:
        """Whether a path is among those of the signal."""
        return any(pattern.match(path) for pattern in self.paths)

    def fires(self, path: str, lines: Sequence[str]) -> bool:
        """Whether a file with these changed lines shows the signal."""
        return self.fits(path) and (self.code is None or any(self.code.search(line) for line in lines))


@dataclass(frozen=True)
class Domain:
    """A domain of the review."""

    name: str
    title: str
    severity: str
    expert: str
    questions: tuple[str, ...]
    signals: tuple[Signal, ...]
    links: tuple[str, ...]
    tests: tuple[str, ...]

    def signals_of(self, path: str, lines: Sequence[str]) -> list[str]:
        """The ids of the signals that a changed file shows."""
        return [signal.id for signal in self.signals if signal.fires(path, lines)]

    def holds(self, path: str) -> bool:
        """Whether a file belongs to the domain whatever is changed in it."""
        return any(signal.code is None and signal.fits(path) for signal in self.signals)


@functools.cache
def load_domains(root: Path) -> tuple[Domain, ...]:
    """The domains, in the order of the file."""
    data = read_yaml(root, DOMAINS_FILE, "domains").data
    return tuple(
        Domain(
            entry["domain"],
            entry["title"],
            entry["severity"],
            entry["expert"],
            tuple(entry["questions"]),
            tuple(_signal(signal) for signal in entry["signals"]),
            tuple(entry.get("links", ())),
            tuple(entry.get("tests", ())),
        )
        for entry in data["domains"]
    )


def uncovered(tree: Tree) -> list[str]:
    """Tracked files without a domain."""
    domains = load_domains(tree.root)
    return [name for name in tree.files if not any(domain.holds(name) for domain in domains)]


def dead_globs(tree: Tree) -> list[str]:
    """Globs of signals and tests that match no file."""
    globs = {glob for domain in load_domains(tree.root) for signal in domain.signals for glob in signal.globs}
    globs |= {glob for domain in load_domains(tree.root) for glob in domain.tests}
    return sorted(glob for glob in globs if not tree.matching(glob))


def _signal(entry: dict[str, object]) -> Signal:
    globs = tuple(map(str, entry["paths"]))  # type: ignore[arg-type]
    code = re.compile(str(entry["code"])) if "code" in entry else None
    return Signal(str(entry["id"]), tuple(map(translate_glob, globs)), globs, code)
