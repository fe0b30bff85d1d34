# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The source files of a release, by module name: read, parsed and visited one definition at a time, on demand.

Every `*.py` (and `*.pyi` where there is no `*.py`) is a module; a folder is one even without `__init__`. Compiled modules are
known by name and opaque. Never imports anything.
"""

from __future__ import annotations

import ast
import copy
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import griffe

from areal.harness.apiaudit.bindings import bound_names

COMPILED_LIST = "compiled.txt"
"""File at the top of an unpacked release that lists its compiled modules, whose binaries are not kept."""
_TOP_LEVEL_NAME = re.compile(r"^(?:async\s+def|class|def)\s+(\w+)|^(\w+)\s*(?::[^=\n]+)?=[^=]", re.MULTILINE)
_COMPILED_SUFFIXES = (".so", ".pyd")
_TYPING_ONLY = ("TYPE_CHECKING", "typing.TYPE_CHECKING", "t.TYPE_CHECKING")


@dataclass(frozen=True)
class Definition:
    """One statement that binds a name: an import, assignment, function or class, and the conditions it stands under."""

    node: ast.stmt
    typing_only: bool = False
    conditional: bool = False


class Sources:
    """The modules under a folder; `overlay` replaces the text of some (seeded mutations, tests)."""

    def __init__(
        self, folder: Path, tops: Iterable[str] | None = None, overlay: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.files: dict[str, Path | None] = {}
        self.overlay = dict(overlay or {})
        self.notes: dict[str, object] = {}  # what other modules of this package remember about a module
        self._folders: set[str] = set()
        self._texts: dict[str, str] = {}
        self._trees: dict[str, ast.Module] = {}
        self._unreadable: set[str] = set()
        self._definitions: dict[str, dict[str, list[Definition]]] = {}
        self._stars: dict[str, list[Definition]] = {}
        self._objects: dict[int, griffe.Object | None] = {}
        self._index: dict[str, list[str]] | None = None
        self._find_files(tops)
        for module in self.overlay:
            self.files.setdefault(module, folder / (module.replace(".", "/") + ".py"))
        self.tops = {module.split(".")[0] for module in (*self.files, *self._folders)}

    def changed(self, overlay: Mapping[str, str]) -> Sources:
        """The same release with other texts of some modules; everything known of the others is shared."""
        other = copy.copy(self)
        other.overlay = {**self.overlay, **overlay}
        other.files = dict(self.files)
        for name in overlay:
            other.files.setdefault(name, self.folder / (name.replace(".", "/") + ".py"))
        kept = [name for name in self._trees if name not in overlay]
        other._trees = {name: self._trees[name] for name in kept}
        other._definitions = {name: self._definitions[name] for name in kept if name in self._definitions}
        other._stars = {name: self._stars[name] for name in kept if name in self._stars}
        other.notes = {key: value for key, value in self.notes.items() if key.rpartition(":")[2] not in overlay}
        other._unreadable = self._unreadable - set(overlay)
        other._objects = {}
        other._index = None
        if self._index is not None:
            other._index = {name: [m for m in modules if m not in overlay] for name, modules in self._index.items()}
            for module in overlay:
                for defined, assigned in _TOP_LEVEL_NAME.findall(other.text(module)):
                    other._index.setdefault(defined or assigned, []).append(module)
        return other

    def _find_files(self, tops: Iterable[str] | None) -> None:
        starts = [self.folder] if tops is None else [self.folder / top for top in tops]
        for start in starts:
            if start.with_suffix(".py").is_file() and tops is not None:
                self.files[start.name] = start.with_suffix(".py")
            for where, folders, names in os.walk(start):
                folders[:] = sorted(name for name in folders if name.isidentifier() and name != "__pycache__")
                relative = Path(where).relative_to(self.folder)
                package = ".".join(relative.parts)
                self._add_folder(Path(where), package, names, bool(folders))
        listed = self.folder / COMPILED_LIST
        if listed.is_file():
            for module in listed.read_text(encoding="utf-8").split():
                self.files.setdefault(module, None)

    def _add_folder(self, where: Path, package: str, names: list[str], has_folders: bool) -> None:
        prefix = f"{package}." if package else ""
        found = {name.removesuffix(".py"): where / name for name in names if name.endswith(".py")}
        stubs = {name.removesuffix(".pyi"): where / name for name in names if name.endswith(".pyi")}
        for stem, path in (stubs | found).items():
            self.files[package if stem == "__init__" else prefix + stem] = path
        for name in names:
            if name.endswith(_COMPILED_SUFFIXES):
                self.files.setdefault(prefix + name.split(".")[0], None)
        if package and (found or stubs or has_folders):
            self._folders.add(package)

    def has_module(self, module: str) -> bool:
        """Whether a module or package of this name exists."""
        return module in self.files or module in self._folders

    def is_compiled(self, module: str) -> bool:
        """Whether the module exists without sources."""
        return module in self.files and self.files[module] is None

    def is_package(self, module: str) -> bool:
        """Whether names relative to the module start in itself rather than in its parent."""
        path = self.files.get(module)
        return path is None or path.stem == "__init__"

    def is_stub(self, module: str) -> bool:
        """Whether only a type stub tells what the module holds."""
        path = self.files.get(module)
        return path is not None and path.suffix == ".pyi"

    def text(self, module: str) -> str:
        """The source of a module; empty for namespace folders and compiled modules."""
        if module in self.overlay:
            return self.overlay[module]
        if module not in self._texts:
            path = self.files.get(module)
            self._texts[module] = path.read_text(encoding="utf-8", errors="replace") if path else ""
        return self._texts[module]

    def tree(self, module: str) -> ast.Module:
        """The syntax tree of a module; empty when it does not parse."""
        if module not in self._trees:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # invalid escapes in their sources are not our concern
                    self._trees[module] = ast.parse(self.text(module))
            except (SyntaxError, ValueError):
                self._unreadable.add(module)
                self._trees[module] = ast.Module(body=[], type_ignores=[])
        return self._trees[module]

    def does_not_parse(self, module: str) -> bool:
        """Whether a module is written for another Python, or broken: nothing can be said about its names."""
        self.tree(module)
        return module in self._unreadable

    def definitions(self, module: str, name: str) -> list[Definition]:
        """Every statement at the top of a module, in conditions or not, that binds a name."""
        if module not in self._definitions:
            self._collect(module)
        return self._definitions[module].get(name, [])

    def names(self, module: str) -> Iterable[str]:
        """The names bound at the top of a module."""
        self.definitions(module, "")
        return self._definitions[module].keys()

    def stars(self, module: str) -> list[Definition]:
        """The `from x import *` statements of a module."""
        self.definitions(module, "")
        return self._stars[module]

    def visited(self, node: ast.stmt) -> griffe.Object | None:
        """The griffe object of a function or class, visited alone; overload marks are dropped first."""
        if id(node) not in self._objects:
            self._objects[id(node)] = _visit(node)
        return self._objects[id(node)]

    def modules_defining(self, name: str) -> list[str]:
        """Modules that bind a name at their top, by a fast look at all sources."""
        if self._index is None:
            index: dict[str, list[str]] = {}
            for module, path in self.files.items():
                if path is not None:
                    for defined, assigned in _TOP_LEVEL_NAME.findall(self.text(module)):
                        index.setdefault(defined or assigned, []).append(module)
            self._index = index
        return self._index.get(name, [])

    def _collect(self, module: str) -> None:
        names: dict[str, list[Definition]] = {}
        stars: list[Definition] = []
        stack = [(statement, False, False) for statement in reversed(self.tree(module).body)]
        while stack:
            node, typing_only, conditional = stack.pop()
            if isinstance(node, ast.Delete) and not conditional:
                for target in node.targets:
                    names.pop(target.id if isinstance(target, ast.Name) else "", None)
                continue
            definition = Definition(node, typing_only, conditional)
            for name in bound_names(node):
                if name == "*":
                    stars.append(definition)
                else:
                    names.setdefault(name, []).append(definition)
            below = _nested(node, typing_only)
            stack += [(child, is_typing, True) for child, is_typing in reversed(below)]
        self._definitions[module], self._stars[module] = names, stars


def _nested(node: ast.stmt, typing_only: bool) -> list[tuple[ast.stmt, bool]]:
    if isinstance(node, ast.If):
        is_typing = ast.unparse(node.test) in _TYPING_ONLY
        return [(child, typing_only or is_typing) for child in node.body] + [(c, typing_only) for c in node.orelse]
    if isinstance(node, ast.Try):
        handled = [child for handler in node.handlers for child in handler.body]
        return [(child, typing_only) for child in (*node.body, *handled, *node.orelse, *node.finalbody)]
    if isinstance(node, ast.With | ast.For | ast.While):
        return [(child, typing_only) for child in node.body]
    return []


def _visit(node: ast.stmt) -> griffe.Object | None:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return None
    kept = node.decorator_list
    node.decorator_list = [each for each in kept if ast.unparse(each).split(".")[-1] != "overload"]
    code = ast.unparse(node)
    node.decorator_list = kept
    module = griffe.visit("visited", filepath=Path("visited.py"), code=code)
    member = module.members.get(node.name)
    return member if isinstance(member, griffe.Object) else None
