# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The scope of a change, from `.agents/scopes.yaml`: a function of its files alone.

Every file has exactly one scope: that of the first entry whose globs match. A change has the scope that covers most of its lines;
without one, the parent that its scopes share; without one, none.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from areal.harness.core.documents import read_yaml
from areal.harness.core.errors import UsageProblem
from areal.harness.core.tree import translate_glob

SCOPES_FILE = Path(".agents/scopes.yaml")
MIN_SHARE = 0.6  # of the changed lines that are not tests
SUPPORTING = ("tests/", "docs/")  # they follow what they test and describe


@dataclass(frozen=True)
class Scopes:
    """The closed lists of types and scopes."""

    types: tuple[str, ...]
    globs: Mapping[str, tuple[str, ...]]
    parents: Mapping[str, str]

    @functools.cached_property
    def _patterns(self) -> list[tuple[str, list[object]]]:
        return [(name, [translate_glob(glob).match for glob in globs]) for name, globs in self.globs.items()]

    def of_file(self, path: str) -> str | None:
        """The scope of a file; None only for files that no glob matches."""
        for name, matchers in self._patterns:
            if any(match(path) for match in matchers):  # type: ignore[operator]
                return name
        return None

    def of_change(self, lines: Mapping[str, int]) -> str | None:
        """The scope of changed files, each with its number of changed lines."""
        weights = self.weights(lines)
        total = sum(weights.values())
        for name, weight in weights.items():
            if weight >= MIN_SHARE * total:
                return name
        chains = [self.chain(name) for name in weights]
        shared = [name for name in (chains[0] if chains else ()) if all(name in chain for chain in chains)]
        return shared[0] if shared else None

    def weights(self, lines: Mapping[str, int]) -> dict[str, int]:
        """Scope -> changed lines, of the files that are neither tests nor docs where there are others."""
        own = {path: count for path, count in lines.items() if not path.startswith(SUPPORTING)} or lines
        found: dict[str, int] = {}
        for path, count in own.items():
            if name := self.of_file(path):
                found[name] = found.get(name, 0) + max(count, 1)
        return found

    def chain(self, name: str) -> list[str]:
        """A scope and its parents, the narrowest first."""
        found = [name]
        while found[-1] in self.parents:
            found.append(self.parents[found[-1]])
        return found

    def accepts(self, scope: str, lines: Mapping[str, int]) -> bool:
        """Whether a scope that somebody wrote fits: it, or a child of it, is that of a changed file."""
        names = {self.of_file(path) for path in lines}
        return not lines or any(name is not None and scope in self.chain(name) for name in names)


@functools.cache
def load_scopes(root: Path) -> Scopes:
    """The scopes of a checkout; parents must exist and have no cycle."""
    data = read_yaml(root, SCOPES_FILE, "scopes").data
    globs = {entry["scope"]: tuple(entry["paths"]) for entry in data["scopes"]}
    parents = {entry["scope"]: entry["parent"] for entry in data["scopes"] if "parent" in entry}
    for name, parent in parents.items():
        if parent not in globs or parent in parents:
            message = f"{SCOPES_FILE}: the parent {parent!r} of {name!r} must be a scope without a parent"
            raise UsageProblem(message, code="H010", file=str(SCOPES_FILE))
    return Scopes(tuple(data["types"]), globs, parents)
