# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the files of a skill run all or not at all, and takes them back by a token.

A record goes to `runs/skills/TOKEN.json` before the first file changes: state `applying`, then `done`. A process that is killed in
between leaves `applying`, which the next run reports and `areal skill undo TOKEN` takes back.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from areal.harness.core.errors import DecisionNeeded
from areal.harness.skills.problems import Conflict
from areal.harness.skills.stage import Change

FOLDER = Path("runs/skills")
GENERATED = b"GENERATED from "
REBUILD = "areal harness build"


def sha(data: bytes) -> str:
    """Hash of a file."""
    return hashlib.sha256(data).hexdigest()


def tokens(root: Path) -> list[str]:
    """The tokens that can be undone, the latest last."""
    return sorted(path.stem for path in (root / FOLDER).glob("*.json"))


def written_by_skills(root: Path, path: str) -> bool:
    """Whether a file is as some skill run left it."""
    file = root / path
    if not file.is_file():
        return False
    now = sha(file.read_bytes())
    return any(
        item["path"] == path and item["after_sha"] == now
        for token in tokens(root)
        for item in _read(root, token)["files"]
    )


def interrupted(root: Path) -> str:
    """The token of a run that was killed while it wrote; empty when there is none."""
    return next((token for token in tokens(root) if _read(root, token)["state"] == "applying"), "")


def apply(root: Path, skill: str, changes: Sequence[Change]) -> str:
    """Write all changes; the token that takes them back. Anything that changed since it was read is a `Conflict`."""
    for change in changes:
        check_unchanged(root, change)
    token = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    files = [_record(root, change) for change in changes]
    record: dict[str, Any] = {"skill": skill, "state": "applying", "files": files}
    _write_record(root, token, record)
    done = False
    try:
        for change in changes:
            _write(root / change.path, change)
        done = True
    finally:
        if not done:
            undo(root, token)
    _write_record(root, token, record | {"state": "done"})
    return token


def check_unchanged(root: Path, change: Change) -> None:
    """`Conflict` when the file is not what the change started from."""
    target = root / change.path
    if change.before is None:
        if os.path.lexists(target):
            raise Conflict(f"{change.path} exists already; nothing was written", code="S010", file=change.path)
        return
    if not target.is_file() or target.read_bytes() != change.before:
        raise Conflict(
            f"{change.path} changed while the skill ran; nothing was written, run it again",
            code="S012",
            file=change.path,
        )


def _described(root: Path, token: str) -> str:
    record = _read(root, token)
    new_first = sorted(record["files"], key=lambda item: item["before"] is not None)
    return f"{token} ({record['skill']}: {new_first[0]['path']})"


def undo(root: Path, token: str) -> tuple[list[str], list[str]]:
    """Take back what a run wrote, later changes of other places kept: the paths, and generated files to build again.

    All or nothing, like the run.
    """
    if token not in tokens(root):
        problem = f"no undo token {token!r}" if token else "expected the token of the run to take back, got none"
        raise DecisionNeeded(
            f"{problem}; there are: {', '.join(_described(root, each) for each in tokens(root)) or 'none'}",
            code="S050",
            choices=tokens(root),
        )
    record = _read(root, token)
    stale = [item["path"] for item in record["files"] if _is_stale(root, item)]
    files = [item for item in record["files"] if item["path"] not in stale]
    texts = {item["path"]: _undone(root, item, record["state"]) for item in files}
    for item in files:
        path, data = root / item["path"], texts[item["path"]]
        if data is not None:
            _replace(path, data, stat.S_IMODE(path.stat().st_mode))
        elif item["before"] is None and path.is_file() and sha(path.read_bytes()) == item["after_sha"]:
            path.unlink()
    for folder in sorted({name for item in record["files"] for name in item["folders"]}, key=len, reverse=True):
        _remove_empty(root / folder)
    (root / FOLDER / f"{token}.json").unlink()
    return list(texts), stale


def _is_stale(root: Path, item: dict[str, Any]) -> bool:
    """Whether a generated file was generated again since: its sources decide what is in it, not this run."""
    path = root / item["path"]
    if item["before"] is None or not path.is_file():
        return False
    now = path.read_bytes()
    return GENERATED in now[:1000] and sha(now) != item["after_sha"]


def _undone(root: Path, item: dict[str, Any], state: str) -> bytes | None:
    """The bytes to put back; None for a file to remove, or one that needs nothing."""
    path = root / item["path"]
    now = path.read_bytes() if path.is_file() else None
    if item["before"] is None:
        if now is None or sha(now) == item["after_sha"] or state == "applying":
            return None  # while applying, a file with another text is not ours: it appeared meanwhile
        raise _changed_since(item["path"])
    before = base64.b64decode(item["before"])
    if now is not None and sha(now) == item["after_sha"]:
        return before
    if now == before:
        return None
    text = None if now is None else _without(now, item["inserted"])
    if text is None:
        raise _changed_since(item["path"])
    return text


def _changed_since(path: str) -> Conflict:
    return Conflict(
        f"{path} was changed after the skill wrote it; nothing was undone",
        code="S051",
        file=path,
        next_action=f"save your change of {path} elsewhere or take it back, then undo again",
    )


def _without(now: bytes, inserted: list[str] | None) -> bytes | None:
    """The text without the lines that the run had inserted; None unless each block is there exactly once."""
    if inserted is None:
        return None
    text = now.decode("utf-8", "surrogateescape")
    for block in inserted:
        if text.count(block) != 1:
            return None
        text = text.replace(block, "")
    return text.encode("utf-8", "surrogateescape")


def _inserted(before: bytes, after: bytes) -> list[str] | None:
    """The blocks of lines that were added, when nothing else happened; else None."""
    old, new = (data.decode("utf-8", "surrogateescape").splitlines(keepends=True) for data in (before, after))
    blocks = []
    for kind, _, _, start, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "insert":
            blocks.append("".join(new[start:end]))
        elif kind != "equal":
            return None
    return blocks


def _record(root: Path, change: Change) -> dict[str, Any]:
    parents = [parent.as_posix() for parent in Path(change.path).parents if not (root / parent).exists()]
    before = None if change.before is None else base64.b64encode(change.before).decode()
    inserted = None if change.before is None else _inserted(change.before, change.after)
    return {
        "path": change.path,
        "before": before,
        "after_sha": sha(change.after),
        "inserted": inserted,
        "folders": parents,
    }


def _read(root: Path, token: str) -> dict[str, Any]:
    return json.loads((root / FOLDER / f"{token}.json").read_text(encoding="utf-8"))


def _write_record(root: Path, token: str, record: dict[str, Any]) -> None:
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    _replace(root / FOLDER / f"{token}.json", json.dumps(record).encode(), 0o644)


def _write(path: Path, change: Change) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if change.before is None:
        temporary = _temporary(path, change.after, 0o644)
        try:
            os.link(temporary, path)  # unlike a rename, fails when a file appeared there meanwhile
        finally:
            temporary.unlink()
    else:
        _replace(path, change.after, stat.S_IMODE(path.stat().st_mode))


def _replace(path: Path, data: bytes, mode: int) -> None:
    _temporary(path, data, mode).replace(path)


def _temporary(path: Path, data: bytes, mode: int) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.write_bytes(data)
    temporary.chmod(mode)
    return temporary


def _remove_empty(folder: Path) -> None:
    caches = folder / "__pycache__"
    if caches.is_dir():
        for file in caches.iterdir():
            file.unlink()
        caches.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
