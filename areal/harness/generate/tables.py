# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Facts that are derived, never typed: file maps, the map of the repository, tables of experts, skills, commands and targets.

`expand` replaces `{{ name }}` and `{{ name(arguments) }}` in a source by what the tree says; an unknown name is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from areal.harness.core.errors import UsageProblem
from areal.harness.core.tree import Tree
from areal.harness.generate.sources import Expert, Sources
from areal.harness.refs.surface import command_table, make_targets
from areal.harness.refs.symbols import SymbolIndex

CALL = re.compile(r"\{\{\s*(?P<name>[a-z_]+)\s*(?:\((?P<arguments>[^)]*)\))?\s*\}\}")
EXAMPLE_MARK = re.compile(r"(?<=`)\{\.example\}")
MAX_SUMMARY = 110
ACCESS_WORDS = {"read": "reads only", "verify": "reads and runs checks", "write": "edits"}


def clip(text: str, limit: int = MAX_SUMMARY) -> str:
    """A text cut at a word boundary."""
    if len(text) <= limit:
        return text
    return text[: text.rfind(" ", 0, limit - 1)].rstrip(",;: ") + " …"


def file_map(tree: Tree, covers: tuple[str, ...]) -> str:
    """Every Python file that the globs match, by folder, with the first sentence of its docstring."""
    files = sorted({name for pattern in covers for name in tree.matching(pattern) if name.endswith(".py")})
    lines, folder = [], None
    for name in sorted(files, key=lambda name: (name.rpartition("/")[0], name)):
        here, _, base = name.rpartition("/")
        if here != folder:
            folder = here
            package = tree.summary(f"{here}/__init__.py") if f"{here}/__init__.py" in tree.file_set else ""
            lines.append(f"- `{here}/`" + (f" {package}" if package else ""))
        summary = tree.summary(name)
        if base != "__init__.py" and summary:
            lines.append(f"  - `{base}` {clip(summary)}")
    return "\n".join(lines)


def repo_map(tree: Tree, depth: int = 2) -> str:
    """The packages of `areal/` and the top-level folders, each with its first docstring sentence."""
    lines = []
    for folder in sorted(tree.folders):
        parts = folder.split("/")
        init = f"{folder}/__init__.py"
        if parts[0] == "areal" and init in tree.file_set and 1 < len(parts) <= depth:
            lines.append(f"- `{folder}/` {clip(tree.summary(init), 90)}")
    return "\n".join(lines)


def expert_table(experts: tuple[Expert, ...]) -> str:
    """Name, access and purpose of every expert."""
    rows = [f"| `{expert.name}` | {ACCESS_WORDS[expert.access]} | {expert.description} |" for expert in experts]
    return "\n".join(["| expert | access | use it |", "| --- | --- | --- |", *rows])


def skill_table(sources: Sources) -> str:
    """Name and the beginning of the description of every skill; the platforms list them in full."""
    if not sources.skills:
        return "No skills yet."
    rows = [f"| `{skill.name}` | {clip(skill.description, 80)} |" for skill in sources.skills]
    return "\n".join(["| skill | use it |", "| --- | --- |", *rows])


def rule_sections(sources: Sources) -> str:
    """Every rule with the files that it applies to."""
    out = []
    for rule in sources.rules:
        where = ", ".join(f"`{path}`" for path in rule.paths) or "everything"
        out.append(f"### {rule.title}\n\nApplies to {where}.\n\n{rule.body.strip()}")
    return "\n\n".join(out)


def commands_table(tree: Tree) -> str:
    """The subcommands of `areal` with their line of help."""
    rows = [f"| `areal {name}` | {command.help} |" for name, command in sorted(command_table(tree).items())]
    return "\n".join(["| command | does |", "| --- | --- |", *rows])


def make_table(tree: Tree) -> str:
    """The targets of the Makefile, in one line."""
    return ", ".join(f"`make {target}`" for target in make_targets(tree))


def expand(body: str, source: Path, sources: Sources, covers: tuple[str, ...] = ()) -> str:
    """Replace every call in a source and drop the marks of illustrations, which are for our checks only."""
    tree = sources.tree
    functions: dict[str, Callable[[list[str]], str]] = {
        "filemap": lambda arguments: file_map(tree, tuple(arguments) or covers),
        "repo_map": lambda arguments: repo_map(tree),
        "experts": lambda arguments: expert_table(sources.experts),
        "skills": lambda arguments: skill_table(sources),
        "rules": lambda arguments: rule_sections(sources),
        "commands": lambda arguments: commands_table(tree),
        "make_targets": lambda arguments: make_table(tree),
        "ref": lambda arguments: _reference(tree, source, arguments),
    }

    def replaced(match: re.Match[str]) -> str:
        function = functions.get(match["name"])
        if function is None:
            line = body[: match.start()].count("\n") + 1
            known = ", ".join(sorted(functions))
            raise UsageProblem(f"{source}: {{{{ {match['name']} }}}} in line {line} of the text is none of: {known}")
        arguments = [part.strip().strip("\"'") for part in (match["arguments"] or "").split(",") if part.strip()]
        return function(arguments)

    return EXAMPLE_MARK.sub("", CALL.sub(replaced, body))


def _reference(tree: Tree, source: Path, arguments: list[str]) -> str:
    if len(arguments) != 2:
        raise UsageProblem(f'{source}: write {{{{ ref("path.py", "symbol") }}}}, got {arguments}')
    path, symbol = arguments
    if path not in tree.file_set or not SymbolIndex(tree).in_file(path, symbol.split(".")):
        raise UsageProblem(f"{source}: {path} defines no {symbol}", code="H021", file=source.as_posix())
    return f"`{symbol}` in `{path}`"
