# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that references are compared with, read from the tree when a reference asks for it."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable
from pathlib import Path

import yaml

from areal.harness.core.documents import SAFE_LOADER
from areal.harness.core.tree import Tree
from areal.harness.generate.sources import expert_files, rule_files, skill_files
from areal.harness.refs import surface
from areal.harness.refs.symbols import SymbolIndex

_FLAG = re.compile(r"[\"'](--[a-z][\w-]*)")


def only_close(name: str, known: Iterable[str], cutoff: float = 0.75) -> str:
    """The known name that was probably meant, if there is exactly one."""
    close = difflib.get_close_matches(name, list(known), n=2, cutoff=cutoff)
    if (
        len(close) == 2
        and difflib.SequenceMatcher(None, name, close[0]).ratio()
        - difflib.SequenceMatcher(None, name, close[1]).ratio()
        > 0.1
    ):
        return close[0]
    return close[0] if len(close) == 1 else ""


class Facts:
    """Paths, symbols, commands and names of one tree."""

    def __init__(self, tree: Tree, ignored: Iterable[str] = (), known_words: Iterable[str] = ()) -> None:
        self.tree = tree
        self.symbols = SymbolIndex(tree)
        self.ignored = tuple(ignored)
        self.known_words = frozenset(known_words)
        self._surfaces: dict[str, surface.Surface] = {}

    @functools.cached_property
    def top_level(self) -> frozenset[str]:
        """First parts of all tracked paths."""
        return frozenset(name.split("/")[0] for name in self.tree.files)

    @functools.cached_property
    def base_names(self) -> frozenset[str]:
        """File names without their folders."""
        return frozenset(name.rpartition("/")[2] for name in self.tree.files)

    @functools.cached_property
    def commands(self) -> dict[str, surface.CommandEntry]:
        """The subcommands of `areal`."""
        return surface.command_table(self.tree)

    def surface(self, command: str) -> surface.Surface:
        """Actions and flags of a subcommand."""
        if command not in self._surfaces:
            self._surfaces[command] = surface.command_surface(self.tree, self.commands[command].module)
        return self._surfaces[command]

    @functools.cached_property
    def make_targets(self) -> frozenset[str]:
        """Targets of the Makefile."""
        return frozenset(surface.make_targets(self.tree))

    @functools.cached_property
    def extras(self) -> frozenset[str]:
        """Extras of the package."""
        return frozenset(surface.extras(self.tree))

    @functools.cached_property
    def markers(self) -> frozenset[str]:
        """Markers of pytest."""
        return frozenset(surface.markers(self.tree))

    @functools.cached_property
    def pre_commit_hooks(self) -> frozenset[str]:
        """Ids of pre-commit hooks."""
        return frozenset(surface.pre_commit_hooks(self.tree))

    @functools.cached_property
    def names(self) -> dict[str, frozenset[str]]:
        """Names of skills, experts and rules."""
        return {
            "skill": frozenset(path.parent.name for path in skill_files(self.tree)),
            "expert": frozenset(path.stem for path in expert_files(self.tree)),
            "rule": frozenset(path.stem for path in rule_files(self.tree)),
        }

    def skill_inputs(self, skill: str) -> frozenset[str]:
        """The inputs that a skill declares; none when there is no such skill or its declaration cannot be read."""
        path = f".agents/skills/{skill}/skill.yaml"
        if path not in self.tree.file_set:
            return frozenset()
        try:
            declared = yaml.load(self.tree.text(path), Loader=SAFE_LOADER)
        except yaml.YAMLError:
            return frozenset()  # told as such by the check of schemas
        return frozenset((declared or {}).get("inputs") or ())

    def flags_in(self, script: str) -> frozenset[str]:
        """Every flag that a script, or the configuration that scripts read, mentions as a string."""
        sources = (script, *(name for name in self.tree.files if name.startswith("areal/api/config/")))
        found = {flag for name in sources for flag in _FLAG.findall(self.tree.text(name)) if name.endswith(".py")}
        return frozenset(found | {"--help"})

    def closest_path(self, path: str) -> str:
        """The tracked path that was probably meant, if there is exactly one: same file name, or nearly the same spelling."""
        base = path.rstrip("/").rpartition("/")[2]
        same = [name for name in self.tree.files if name.rpartition("/")[2] == base]
        if len(same) == 1:
            return same[0]
        candidates = self.tree.folders if path.endswith("/") or "." not in base else self.tree.file_set
        near = [name for name in candidates if abs(len(name) - len(path)) <= 6 and name[:2] == path[:2]]
        found = only_close(path.rstrip("/"), near, cutoff=0.85)
        return found + "/" if found and path.endswith("/") else found

    def relative(self, base: str, path: str) -> str:
        """A path written relative to the folder of a file, as one relative to the root; empty when it leads outside."""
        joined = Path(self.tree.root / base).parent.joinpath(path)
        normal = Path(*_normalised(joined.parts))
        return normal.relative_to(self.tree.root).as_posix() if normal.is_relative_to(self.tree.root) else ""


def _normalised(parts: tuple[str, ...]) -> list[str]:
    out: list[str] = []
    for part in parts:
        if part == "..":
            out = out[:-1]
        elif part != ".":
            out.append(part)
    return out
