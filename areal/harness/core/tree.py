# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The files of the repository as the harness sees them: what git tracks and is on disk, or everything when there is no git.

Called by every check that asks whether a path exists. Never imports what it reads.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from areal.harness.core.errors import UsageProblem

GIT_TIMEOUT_S = 30
SKIPPED_FOLDERS = {".git", ".venv", "__pycache__", "build", "dist", "runs", "node_modules", ".hypothesis"}
DOCSTRING = re.compile(r'\A(?:\s*#[^\n]*\n|\s*\n)*[rRuU]?("""|\'\'\'|")(.*?)\1', re.DOTALL)


def find_root(start: Path | None = None) -> Path:
    """The repository around a folder: the nearest one with `.agents` and `pyproject.toml`."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / ".agents").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    raise UsageProblem(f"{here} is not inside a checkout of areal (no .agents with pyproject.toml)", code="no_checkout")


def translate_glob(pattern: str) -> re.Pattern[str]:
    """A glob over slash-separated paths as a regular expression: `*` within a name, `**` any folders, `{a,b}`, `?`, `[..]`."""
    out, index = [], 0
    while index < len(pattern):
        char = pattern[index]
        if pattern.startswith("**/", index):
            out.append("(?:[^/]+/)*")
            index += 3
            continue
        if pattern.startswith("**", index):
            out.append(".*")
            index += 2
            continue
        closing = pattern.find("]" if char == "[" else "}", index)
        if char in "[{" and closing > index:
            inner = pattern[index + 1 : closing]
            out.append(f"[{inner}]" if char == "[" else f"(?:{'|'.join(map(re.escape, inner.split(',')))})")
            index = closing + 1
            continue
        out.append({"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char)))
        index += 1
    return re.compile("".join(out) + r"\Z")


class Tree:
    """The tracked files under a root, with the questions that checks ask about them."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    @functools.cached_property
    def files(self) -> tuple[str, ...]:
        """Slash-separated paths of the tracked files that are on disk, sorted."""
        listed = self._git("ls-files", "-c", "-z")
        names = listed.split("\0") if listed is not None else self._walk()
        return tuple(sorted({name for name in names if name and (self.root / name).is_file()}))

    @functools.cached_property
    def folders(self) -> frozenset[str]:
        """Every folder that holds a tracked file, without a trailing slash."""
        return frozenset(parent.as_posix() for name in self.files for parent in Path(name).parents if parent != Path())

    @functools.cached_property
    def file_set(self) -> frozenset[str]:
        """`files` for membership."""
        return frozenset(self.files)

    def exists(self, path: str) -> bool:
        """Whether a path names a tracked file or folder, or a new one that is not ignored by name."""
        path = path.rstrip("/")
        if path in self.file_set or path in self.folders:
            return True
        return not SKIPPED_FOLDERS.intersection(path.split("/")) and (self.root / path).exists()

    def matching(self, pattern: str) -> list[str]:
        """The files that match a glob; a pattern that ends in `/` means everything below it."""
        regex = translate_glob(pattern + "**" if pattern.endswith("/") else pattern)
        return [name for name in self.files if regex.match(name)]

    def text(self, path: str) -> str:
        """The text of a file; characters that are not UTF-8 are replaced."""
        return (self.root / path).read_text(encoding="utf-8", errors="replace")

    def summary(self, path: str) -> str:
        """The first sentence of a Python file's docstring, without its final stop; empty when there is none."""
        match = DOCSTRING.match(self.text(path)[:4000])
        if match is None:
            return ""
        first = " ".join(match.group(2).strip().split("\n\n")[0].split())
        sentence = re.split(r"(?<=[.!?])\s+(?=[A-Z`(])", first)[0]
        return sentence.rstrip(".")

    def _git(self, *args: str) -> str | None:
        command = ["git", "-C", str(self.root), *args]
        try:
            done = subprocess.run(command, capture_output=True, timeout=GIT_TIMEOUT_S, check=False)
        except FileNotFoundError:
            return None
        return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else None

    def _walk(self) -> Iterator[str]:
        for folder, names, files in os.walk(self.root):
            names[:] = [name for name in names if name not in SKIPPED_FOLDERS and not name.endswith(".egg-info")]
            yield from ((Path(folder) / name).relative_to(self.root).as_posix() for name in files)
