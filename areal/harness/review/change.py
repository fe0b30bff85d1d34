# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A change: the files between two commits (or a commit and the work tree) with their added and removed lines.

Built once a review by `read_change`; domains and checks only read it. A `Snapshot` is one side of it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from areal.harness.review.repository import merge_base, resolve

if TYPE_CHECKING:
    from git import Commit, Repo

HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")
BINARY_PROBE_BYTES = 8000  # git looks for a NUL byte in as many
WORK_TREE = "work tree"


def blob_sha(data: bytes) -> str:
    """The name that git gives a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class Snapshot:
    """The files of a commit."""

    def __init__(self, repo: Repo, commit: Commit) -> None:
        self.repo = repo
        self.commit = commit

    @functools.cached_property
    def blobs(self) -> Mapping[str, str]:
        """The blob of each path."""
        listed = self.repo.git.ls_tree("-r", "-z", "--full-tree", self.commit.hexsha)
        entries = (entry.partition("\t") for entry in listed.split("\0") if entry)
        return {path: meta.split()[2] for meta, _, path in entries if meta.split()[1] == "blob"}

    @property
    def paths(self) -> set[str]:
        """Every path."""
        return set(self.blobs)

    def read(self, path: str) -> bytes | None:
        """The content of a file; None when there is no such file."""
        sha = self.blobs.get(path)
        return None if sha is None else self.repo.odb.stream(bytes.fromhex(sha)).read()

    def grep(self, words: list[str], *folders: str) -> dict[str, set[str]]:
        """For each of the words (fixed strings) the files whose text has it."""
        return _grep(self.repo, words, [self.commit.hexsha], folders)


class WorkTree(Snapshot):
    """The files on disk, untracked ones included unless they are ignored."""

    @functools.cached_property
    def blobs(self) -> Mapping[str, str]:
        """Every path that is on disk; nothing is hashed."""
        listed = self.repo.git.ls_files("-c", "-o", "--exclude-standard", "-z").split("\0")
        return {path: "" for path in listed if path and (self.folder / path).is_file()}

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return Path(str(self.repo.working_tree_dir))

    def read(self, path: str) -> bytes | None:
        """The content of a file on disk."""
        return (self.folder / path).read_bytes() if path in self.blobs else None

    def grep(self, words: list[str], *folders: str) -> dict[str, set[str]]:
        """The same for the files on disk."""
        return _grep(self.repo, words, ["--untracked"], folders)


def _grep(repo: Repo, words: list[str], where: list[str], folders: tuple[str, ...]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {word: set() for word in words}
    if not words:
        return found
    patterns = [argument for word in words for argument in ("-e", word)]
    output = repo.git.grep("-F", "-I", "-z", "--full-name", *patterns, *where, "--", *folders, with_exceptions=False)
    for line in output.split("\n"):
        name, _, text = line.partition("\0")
        for word in words:
            if word in text:
                found[word].add(name.partition(":")[2] if len(where[0]) == 40 else name)
    return found


@dataclass(frozen=True)
class Line:
    """A line of a patch, numbered on its own side."""

    number: int
    text: str


@dataclass(frozen=True, eq=False)
class ChangedFile:
    """One file of a change: A added, M modified, D deleted, R renamed."""

    path: str
    old_path: str
    status: str
    added: tuple[Line, ...]
    removed: tuple[Line, ...]
    change: Change

    @functools.cached_property
    def new_bytes(self) -> bytes:
        """The content after the change; empty for a deleted file."""
        return b"" if self.status == "D" else self.change.head.read(self.path) or b""

    @functools.cached_property
    def old_bytes(self) -> bytes:
        """The content before the change; empty for an added file."""
        return b"" if self.status == "A" else self.change.base.read(self.old_path) or b""

    @property
    def is_binary(self) -> bool:
        """Whether git would show no text for it."""
        return b"\0" in (self.new_bytes or self.old_bytes)[:BINARY_PROBE_BYTES]

    @property
    def is_python(self) -> bool:
        """Whether it is a Python file that still exists."""
        return self.path.endswith(".py") and self.status != "D"

    @functools.cached_property
    def new_text(self) -> str:
        """The text after the change."""
        return self.new_bytes.decode("utf-8", errors="replace")

    @functools.cached_property
    def old_text(self) -> str:
        """The text before the change."""
        return self.old_bytes.decode("utf-8", errors="replace")

    @functools.cached_property
    def new_tree(self) -> ast.Module | None:
        """The syntax tree after the change; None when it does not parse."""
        return parse(self.new_text) if self.path.endswith(".py") else None

    @functools.cached_property
    def old_tree(self) -> ast.Module | None:
        """The syntax tree before the change."""
        return parse(self.old_text) if self.old_path.endswith(".py") else None

    @functools.cached_property
    def added_numbers(self) -> frozenset[int]:
        """Numbers of the added lines."""
        return frozenset(line.number for line in self.added)

    def touches(self, node: ast.AST) -> bool:
        """Whether the change added or altered a line of a node of `new_tree`."""
        first, last = _extent(node)
        return any(first <= number <= last for number in self.added_numbers)

    def nodes(self, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
        """Nodes of the new tree that the change touches."""
        if self.is_python and self.new_tree is not None:
            yield from (node for node in ast.walk(self.new_tree) if isinstance(node, kinds) and self.touches(node))


def parse(text: str) -> ast.Module | None:
    """The syntax tree of a text; None when it does not parse."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes in strings, which are the author's
            return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


def _extent(node: ast.AST) -> tuple[int, int]:
    if not isinstance(node, ast.stmt | ast.expr | ast.ExceptHandler | ast.alias | ast.keyword | ast.arg):
        return 1, 0
    first = node.lineno
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.decorator_list:
        first = min(decorator.lineno for decorator in node.decorator_list)
    return first, node.end_lineno or node.lineno


class Change:
    """All changed files between two snapshots."""

    def __init__(self, base: Snapshot, head: Snapshot, head_name: str) -> None:
        self.base = base
        self.head = head
        self.head_name = head_name
        self.files: tuple[ChangedFile, ...] = tuple(sorted(self._read(), key=lambda file: file.path))

    @functools.cached_property
    def by_path(self) -> Mapping[str, ChangedFile]:
        """Changed files by their new path, and by the old one of those that moved away."""
        return {file.old_path: file for file in self.files} | {file.path: file for file in self.files}

    def _read(self) -> Iterator[ChangedFile]:
        other = None if isinstance(self.head, WorkTree) else self.head.commit
        for diff in self.base.commit.diff(other, create_patch=True, unified=0, find_renames=True, no_ext_diff=True):
            status = "A" if diff.new_file else "D" if diff.deleted_file else "R" if diff.renamed_file else "M"
            path = (diff.a_path if status == "D" else diff.b_path) or ""
            added, removed = _lines(diff.diff if isinstance(diff.diff, bytes) else b"")
            yield ChangedFile(path, diff.a_path or path, status, added, removed, self)
        if other is None:
            for path in self.head.repo.untracked_files:
                lines = (self.head.read(path) or b"").decode("utf-8", errors="replace").splitlines()
                yield ChangedFile(path, path, "A", tuple(Line(n, text) for n, text in enumerate(lines, 1)), (), self)


def _lines(patch: bytes) -> tuple[tuple[Line, ...], tuple[Line, ...]]:
    added, removed = [], []
    old = new = 0
    for line in patch.decode("utf-8", errors="replace").split("\n"):
        if match := HUNK.match(line):
            old, new = int(match[1]), int(match[2])
        elif line.startswith("+"):
            added.append(Line(new, line[1:]))
            new += 1
        elif line.startswith("-"):
            removed.append(Line(old, line[1:]))
            old += 1
    return tuple(added), tuple(removed)


def read_change(repo: Repo, base: str, head: str | None) -> Change:
    """The change of `head` (None: the work tree, commits and all) since it left `base`."""
    tip = resolve(repo, head or "HEAD")
    start = Snapshot(repo, merge_base(repo, resolve(repo, base), tip))
    return Change(start, Snapshot(repo, tip) if head else WorkTree(repo, tip), head or WORK_TREE)
