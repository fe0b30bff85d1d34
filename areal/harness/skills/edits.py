# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Registry edits: an entry added to a dict literal of a source file, found by its syntax tree, everything else untouched.

Adding what is there already changes nothing; a key with another value, and a file without the dict, are conflicts.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from areal.harness.skills.problems import BrokenSkill, Conflict


@dataclass(frozen=True)
class Entry:
    """An entry to add: the file (for messages), what the dict belongs to, the key, and the value's source."""

    path: str
    target: str
    key: str
    value: str


def add_dict_entry(text: str, entry: Entry) -> str:
    """The source with the entry as the last one of the dict; the same text when it is there already."""
    node = _find_dict(text, entry)
    try:
        wanted = ast.parse(entry.value, mode="eval").body
    except SyntaxError:
        raise BrokenSkill(
            f"the value for {entry.key!r} in {entry.path} is no expression: {entry.value}", code="S020"
        ) from None
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == entry.key:
            if ast.dump(value) == ast.dump(wanted):
                return text
            raise Conflict(
                f"{entry.path}: {entry.target} has {entry.key!r} already, as {ast.unparse(value)}; choose another name",
                code="S031",
                file=entry.path,
                line=value.lineno,
            )
    edited = _insert(text, node, entry)
    check = _find_dict(edited, entry)
    keys = [key.value for key in check.keys if isinstance(key, ast.Constant)]
    assert keys[-1] == entry.key and len(check.keys) == len(node.keys) + 1, f"the edit of {entry.path} went wrong"
    return edited


def has_entry(text: str, entry: Entry) -> bool:
    """Whether the dict has the entry."""
    return add_dict_entry(text, entry) == text


def _find_dict(text: str, entry: Entry) -> ast.Dict:
    missing = Conflict(
        f"{entry.path}: anchor {entry.target} not found (a dict literal that it names or takes); the skill cannot register",
        code="S030",
        file=entry.path,
        next_action=f"restore {entry.target} in {entry.path}, or change `edits` of the skill",
    )
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise Conflict(
            f"{entry.path}:{error.lineno}: does not parse: {error.msg}", code="S030", file=entry.path
        ) from None
    found = []
    for node in ast.walk(tree):
        if entry.target.endswith("()"):
            name = entry.target.removesuffix("()")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                found += [argument for argument in node.args if isinstance(argument, ast.Dict)]
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [node.value for target in targets if isinstance(target, ast.Name) and target.id == entry.target]
    if len(found) != 1:
        raise missing
    return found[0]


def _insert(text: str, node: ast.Dict, entry: Entry) -> str:
    lines = text.splitlines(keepends=True)
    assert node.end_lineno is not None and node.end_col_offset is not None
    if node.lineno == node.end_lineno:  # written in one line: one entry a line from now on
        return _spread(lines, node, entry)
    last = node.values[-1] if node.values else None
    closing = node.end_lineno - 1
    indent = re.match(r"\s*", lines[closing])
    inner = (indent.group(0) if indent else "") + "    "
    if last is not None and last.end_lineno is not None:
        end = last.end_lineno - 1
        raw = lines[end].encode()
        offset = last.end_col_offset or 0
        if not re.match(rb"\s*,", raw[offset:]):
            lines[end] = (raw[:offset] + b"," + raw[offset:]).decode()
    lines.insert(closing, f'{inner}"{entry.key}": {entry.value},\n')
    return "".join(lines)


def _spread(lines: list[str], node: ast.Dict, entry: Entry) -> str:
    line = lines[node.lineno - 1]
    raw = line.encode()
    before, after = raw[: node.col_offset].decode(), raw[node.end_col_offset :].decode()
    indent = re.match(r"\s*", line)
    outer = indent.group(0) if indent else ""
    items = [
        f"{outer}    {_source(raw, key)}: {_source(raw, value)},\n"
        if key is not None
        else f"{outer}    **{_source(raw, value)},\n"
        for key, value in zip(node.keys, node.values, strict=True)
    ]
    items.append(f'{outer}    "{entry.key}": {entry.value},\n')
    lines[node.lineno - 1] = before + "{\n" + "".join(items) + outer + "}" + after
    return "".join(lines)


def _source(raw: bytes, node: ast.expr) -> str:
    return raw[node.col_offset : node.end_col_offset].decode()
