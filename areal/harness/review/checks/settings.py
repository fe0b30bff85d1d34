# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of options: reference pages (R013), help and ranges (R016), readers (R025), read from syntax trees alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from areal.harness.core.findings import Finding, Fix
from areal.harness.review.change import Change, ChangedFile

CONFIG_FOLDER = "areal/api/config/"
COMMAND_FOLDER = "areal/cli/"
REFERENCE = re.compile(r"docs/\w+/.*cli_reference\.md")
RANGES = {"ge", "gt", "le", "choices"}


@dataclass(frozen=True)
class Option:
    """A field of a config class: its declaration as text, and what a check asks of it."""

    owner: str
    name: str
    line: int
    source: str
    is_number: bool
    has_help: bool
    has_range: bool


def options(tree: ast.Module | None) -> Mapping[str, Option]:
    """The fields of all dataclasses of a module, by `Class.field`."""
    found = {}
    for cls in ast.walk(tree) if tree else ():
        if not isinstance(cls, ast.ClassDef) or not any("dataclass" in ast.unparse(d) for d in cls.decorator_list):
            continue
        if not re.search(r"(Config|Spec|Args|Parameters)$", cls.name) and "setting(" not in ast.unparse(cls):
            continue  # a record of the package's own, which no file of a user fills in
        checked = {
            node.attr
            for method in cls.body
            if isinstance(method, ast.FunctionDef)
            for node in ast.walk(method)
            if isinstance(node, ast.Attribute)
        }
        for node in cls.body:
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and "ClassVar" not in ast.unparse(node.annotation)
            ):
                found[f"{cls.name}.{node.target.id}"] = _option(cls.name, node, node.target.id in checked)
    return found


def _option(owner: str, node: ast.AnnAssign, is_checked: bool) -> Option:
    call = node.value if isinstance(node.value, ast.Call) else None
    keywords = {keyword.arg: keyword.value for keyword in call.keywords} if call else {}
    text = keywords.get("help") or (call.args[1] if call and len(call.args) > 1 else None)
    has_help = text is not None and not (isinstance(text, ast.Constant) and not str(text.value).strip())
    return Option(
        owner=owner,
        name=node.target.id,  # type: ignore[union-attr]
        line=node.lineno,
        source=ast.unparse(node),
        is_number=re.fullmatch(r"(?:int|float)(?: \| None)?", ast.unparse(node.annotation)) is not None,
        has_help=has_help,
        has_range=is_checked or bool(RANGES & keywords.keys()),
    )


def _added_options(change: Change) -> Iterator[tuple[ChangedFile, Option]]:
    before = {key for file in change.files if file.old_path.startswith(CONFIG_FOLDER) for key in options(file.old_tree)}
    for file in change.files:
        if file.is_python and file.path.startswith(CONFIG_FOLDER):
            yield from ((file, option) for key, option in options(file.new_tree).items() if key not in before)


def undocumented_options(change: Change) -> Iterator[Finding]:
    """R016."""
    for file, option in _added_options(change):
        where = f"{option.owner}.{option.name}"
        if not option.has_help:
            hint = "declare it with setting(default, 'One sentence.', ...) of areal.api.config.fields"
            yield Finding(code="R016", message=f"{where} has no help", file=file.path, line=option.line, hint=hint)
        elif option.is_number and not option.has_range:
            message = f"{where} is a number without a range"
            hint = "give setting() ge, gt, le or choices, or check it in __post_init__"
            yield Finding(code="R016", message=message, file=file.path, line=option.line, hint=hint, severity="warning")
    for file in change.files:
        if file.path.startswith(COMMAND_FOLDER):
            for node in file.nodes(ast.Call):
                if _is_flag(node) and not any(keyword.arg in ("help", None) for keyword in node.keywords):
                    message = f"{ast.unparse(node.args[0])} has no help"
                    yield Finding(code="R016", message=message, file=file.path, line=node.lineno, hint="help=...")


def _is_flag(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "add_argument"
        and bool(node.args)
    )


def _flags(tree: ast.Module | None) -> list[str]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)] if tree else []
    wanted = ("add_argument", "add_parser")
    return sorted(ast.unparse(c) for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr in wanted)


def stale_reference(change: Change) -> Iterator[Finding]:
    """R013."""
    if any(REFERENCE.fullmatch(file.path) for file in change.files if file.status != "D"):
        return
    fix = Fix(kind="run", command="python docs/generate_cli_docs.py")
    for file in change.files:
        if not file.path.startswith((CONFIG_FOLDER, COMMAND_FOLDER)):
            continue
        old, new = options(file.old_tree), options(file.new_tree)
        if file.path.startswith(CONFIG_FOLDER):
            different = [key for key in old | new if _source(old, key) != _source(new, key)]
        else:
            before, after = _flags(file.old_tree), _flags(file.new_tree)
            different = [] if before == after else [f"{len(set(before) ^ set(after))} declarations of arguments"]
        if different:
            line = new[different[0]].line if different[0] in new else 0
            message = f"{', '.join(different[:3])} changed and the CLI reference did not"
            yield Finding(code="R013", message=message, file=file.path, line=line, fix=fix)


def _source(found: Mapping[str, Option], key: str) -> str:
    return found[key].source if key in found else ""


def unread_options(change: Change) -> Iterator[Finding]:
    """R025: a new field that no attribute access of the package reads."""
    added = [(file, option) for file, option in _added_options(change)]
    mentions = change.head.grep(sorted({f".{option.name}" for _, option in added}), "areal/")
    for file, option in added:
        readers = [
            path for path in mentions[f".{option.name}"] if path.endswith(".py") and _reads(change, path, option)
        ]
        if not readers:
            message = f"nothing in areal/ reads {option.owner}.{option.name}"
            hint = "use it, or leave it out"
            yield Finding(code="R025", message=message, file=file.path, line=option.line, hint=hint)


def _reads(change: Change, path: str, option: Option) -> bool:
    text = (change.head.read(path) or b"").decode("utf-8", errors="replace")
    if path.startswith(CONFIG_FOLDER) and not path.endswith("/plan.py"):
        return any(_is_read(node, option.name) for node in _public_methods(text))
    return re.search(rf"\.{option.name}\b(?!\s*=[^=])", text) is not None


def _public_methods(text: str) -> Iterator[ast.AST]:
    """Validation does not count as reading, a property or method that others call does."""
    from areal.harness.review.change import parse

    tree = parse(text)
    for cls in ast.walk(tree) if tree else ():
        if isinstance(cls, ast.ClassDef):
            yield from (n for n in cls.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_"))


def _is_read(method: ast.AST, name: str) -> bool:
    return any(
        isinstance(n, ast.Attribute) and n.attr == name and isinstance(n.ctx, ast.Load) for n in ast.walk(method)
    )
