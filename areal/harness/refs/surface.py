# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What can be typed at a shell in this repository: areal's subcommands, actions and flags, make targets, extras, markers, hooks.

Everything is read from the files that define it, without importing them, so that a check costs milliseconds and no torch.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import yaml

from areal.harness.core.documents import SAFE_LOADER
from areal.harness.core.errors import UsageProblem
from areal.harness.core.tree import Tree

MAIN = "areal/cli/main.py"
BUILT_IN_MARKERS = {"skip", "skipif", "xfail", "parametrize", "usefixtures", "filterwarnings", "timeout"}
MAKE_TARGET = re.compile(r"^([A-Za-z][\w-]*)\s*:(?!=)", re.MULTILINE)


@dataclass(frozen=True)
class CommandEntry:
    """A subcommand of `areal`: the module behind it and its line of help."""

    module: str
    help: str


@dataclass
class Surface:
    """Actions of a subcommand with the flags of each; `common` flags hold for all; `free` when it takes further arguments."""

    actions: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    common: set[str] = field(default_factory=lambda: {"--help", "-h"})

    def flags(self, action: str | None) -> set[str]:
        """The flags that may follow an action."""
        return self.common | (self.actions.get(action, set()) if action else set())


def command_table(tree: Tree) -> dict[str, CommandEntry]:
    """`COMMANDS` of the console script, read from its syntax tree."""
    if MAIN not in tree.file_set:
        return {}
    for node in ast.walk(ast.parse(tree.text(MAIN))):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "COMMANDS":
            assert isinstance(node.value, ast.Dict)
            return dict(_entries(node.value))
    return {}


def _entries(node: ast.Dict) -> list[tuple[str, CommandEntry]]:
    found = []
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant) and isinstance(value, ast.Call):
            module, text = (ast.literal_eval(argument) for argument in value.args[:2])
            found.append((key.value, CommandEntry(module, text)))
    return found


def command_surface(tree: Tree, module: str) -> Surface:
    """Actions and flags of a subcommand, from the `add_parser` and `add_argument` calls of its module and of its helpers."""
    surface = Surface()
    own = module.replace(".", "/")
    for path, parsed in _module_files(tree, module).items():
        found = surface if path.startswith(own) else Surface()
        _read_parsers(parsed, found)
        if found is not surface:  # a helper gives flags; its actions are those of another command
            surface.common |= found.common
    return surface


def _module_files(tree: Tree, module: str) -> dict[str, ast.Module]:
    """The syntax trees of the module's file and of the files of `areal.cli` that it imports."""
    pending: list[str] = [module]
    seen: dict[str, ast.Module] = {}
    while pending:
        name = pending.pop().replace(".", "/")
        path = f"{name}.py" if f"{name}.py" in tree.file_set else f"{name}/__init__.py"
        if path in seen or path not in tree.file_set or path == MAIN:
            continue
        seen[path] = ast.parse(tree.text(path))
        for node in ast.walk(seen[path]):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("areal.cli"):
                pending += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return seen


def _read_parsers(module: ast.Module, surface: Surface) -> None:
    factories = _factories(module)
    for scope in [module, *(node for node in ast.walk(module) if isinstance(node, ast.FunctionDef))]:
        owners: dict[str, str] = {}
        for node in _own_nodes(scope):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                action = _added_action(node.value, factories)
                if action:
                    owners[node.targets[0].id] = action
            elif isinstance(node, ast.Call):
                _read_call(node, owners, factories, surface)


def _factories(module: ast.Module) -> dict[str, int]:
    """Functions that make a parser named by one of their arguments, and the place of that argument."""
    found = {}
    for function in (node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)):
        places = {argument.arg: place for place, argument in enumerate(function.args.args)}
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_parser":
                name = node.args[0] if node.args else None
                if isinstance(name, ast.Name) and name.id in places:
                    found[function.name] = places[name.id]
    return found


def _read_call(node: ast.Call, owners: dict[str, str], factories: dict[str, int], surface: Surface) -> None:
    action = _added_action(node, factories)
    if action:
        surface.actions[action] |= set()
    elif isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
        names = (str(argument.value) for argument in node.args if isinstance(argument, ast.Constant))
        flags = {name for name in names if name.startswith("-")}
        owner = owners.get(node.func.value.id) if isinstance(node.func.value, ast.Name) else None
        if owner is None:
            surface.common |= flags
        else:
            surface.actions[owner] |= flags


def _added_action(value: ast.expr, factories: dict[str, int]) -> str:
    """The action that a call adds: by `add_parser` itself, or by a function that calls it."""
    if not isinstance(value, ast.Call):
        return ""
    if isinstance(value.func, ast.Attribute) and value.func.attr == "add_parser":
        place = 0
    elif isinstance(value.func, ast.Name) and value.func.id in factories:
        place = factories[value.func.id]
    else:
        return ""
    name = value.args[place] if len(value.args) > place else None
    return str(name.value) if isinstance(name, ast.Constant) else ""


def _own_nodes(scope: ast.AST) -> list[ast.AST]:
    """The nodes of a scope in source order, without those of nested functions."""
    out, pending = [], list(ast.iter_child_nodes(scope))
    while pending:
        node = pending.pop(0)
        out.append(node)
        if not isinstance(node, ast.FunctionDef):
            pending = [*ast.iter_child_nodes(node), *pending]
    return out


def make_targets(tree: Tree) -> list[str]:
    """The targets of the Makefile in their order, without file targets."""
    return list(dict.fromkeys(MAKE_TARGET.findall(tree.text("Makefile")))) if "Makefile" in tree.file_set else []


def _pyproject(tree: Tree) -> dict[str, Any]:
    if "pyproject.toml" not in tree.file_set:
        return {}
    try:
        return tomllib.loads(tree.text("pyproject.toml"))
    except tomllib.TOMLDecodeError as error:
        raise UsageProblem(f"pyproject.toml is not valid TOML: {error}", code="toml") from None


def extras(tree: Tree) -> list[str]:
    """The extras that `pip install areal[...]` knows."""
    return sorted(_pyproject(tree).get("project", {}).get("optional-dependencies", {}))


def markers(tree: Tree) -> set[str]:
    """The pytest markers that may be used."""
    listed = _pyproject(tree).get("tool", {}).get("pytest", {}).get("ini_options", {}).get("markers", [])
    return BUILT_IN_MARKERS | {marker.partition(":")[0].partition("(")[0].strip() for marker in listed}


def pre_commit_hooks(tree: Tree) -> list[str]:
    """The ids of the pre-commit hooks."""
    if ".pre-commit-config.yaml" not in tree.file_set:
        return []
    config = yaml.load(tree.text(".pre-commit-config.yaml"), Loader=SAFE_LOADER)
    return [hook["id"] for repo in config.get("repos", []) for hook in repo.get("hooks", [])]
