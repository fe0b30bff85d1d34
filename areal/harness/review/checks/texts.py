# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of any text or file: machine paths (R010), formatting among real changes (R015), size (R019)."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

from areal.harness.core.findings import Finding
from areal.harness.review.change import Change, ChangedFile

TEXT_SUFFIXES = (".py", ".yaml", ".yml", ".toml", ".json", ".sh", ".cfg", ".ini", ".j2", ".md", ".ipynb", ".txt")
# Folders that belong to a person, or that only a cluster has, are wrong with one more name. `/data/items` may be a route.
_HOMES = r"(?:home|Users|root|mnt|nfs\w*|scratch|lustre|gpfs|workspace|fsx|cephfs|nas)/[\w.-]+"
_MOUNTS = r"(?:data\d*|storage|work|projects|share)/[\w-]+(?:\.\w+|[\w.-]*/[\w./-]+)"
_DRIVES = r"\b[A-Z]:\\\\?(?:Users|Documents|work|data)\\\\?\w+"
_ABSOLUTE = re.compile(rf"(?:(?<![\w/.:}}$>~)-])|\bfile://)/(?:{_HOMES}|{_MOUNTS})|{_DRIVES}")
_NOBODY = re.compile(r"/(?:home|Users)/(?:user|username|you|me|runner|ubuntu|name)\b")

MAX_BYTES = 1024 * 1024
MAX_BINARY_BYTES = 500 * 1024


def absolute_paths(change: Change) -> Iterator[Finding]:
    """R010."""
    for file in change.files:
        if file.status == "D" or not file.path.endswith(TEXT_SUFFIXES):
            continue
        for line in file.added:
            match = _ABSOLUTE.search(line.text)
            is_example = file.path.endswith(".md") and match is not None and _NOBODY.search(match[0])
            if match and not is_example:
                message = f"absolute path of one machine: {match[0]}"
                hint = "take it from an argument, a setting or the environment"
                yield Finding(code="R010", message=message, file=file.path, line=line.number, hint=hint)


def only_formatting(change: Change) -> Iterator[Finding]:
    """R015: only where the change also has a file with more than formatting."""
    formatted = [file for file in change.files if file.status == "M" and _is_formatting(file)]
    if len(formatted) == len(change.files):
        return
    for file in formatted:
        message = "only the formatting changed; this change is about something else"
        hint = f"git checkout {change.base.commit.hexsha[:9]} -- {file.path}"
        yield Finding(code="R015", message=message, file=file.path, severity="warning", hint=hint)


def _is_formatting(file: ChangedFile) -> bool:
    if file.is_binary or file.new_bytes == file.old_bytes:
        return False
    if file.path.endswith(".py"):
        old, new = file.old_tree, file.new_tree
        if old is None or new is None or len(old.body) != len(new.body):
            return False
        return ast.dump(old) == ast.dump(new) and _comments(file.old_text) == _comments(file.new_text)
    if file.path.endswith(".md"):
        return _plain_markdown(file.old_text) == _plain_markdown(file.new_text)
    if file.path.endswith((".yaml", ".yml")):  # leading space is structure
        return _lines(file.old_text) == _lines(file.new_text)
    return file.old_text.split() == file.new_text.split()


def _comments(text: str) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [word for token in tokens if token.type == tokenize.COMMENT for word in token.string.split()]


def _plain_markdown(text: str) -> str:
    """A text without spaces, escapes, table rules and the marks of emphasis and lists, which formatters choose anew."""
    text = re.sub(r"^\s*(?:[-*+]|\d+\.)\s", "", text, flags=re.MULTILINE)
    return re.sub(r"[\s\\|*_]|-{3,}|={3,}", "", text)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def large_files(change: Change) -> Iterator[Finding]:
    """R019."""
    for file in change.files:
        size, limit = len(file.new_bytes), MAX_BINARY_BYTES if file.is_binary else MAX_BYTES
        if size > limit and size > len(file.old_bytes):
            kind = "binary file" if file.is_binary else "file"
            message = f"{kind} of {size / 1024:.0f} KiB, at most {limit // 1024}; it stays in the history for ever"
            hint = "make it when it is needed, or fetch it"
            yield Finding(code="R019", message=message, file=file.path, hint=hint)
