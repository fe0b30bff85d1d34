# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all: atomic directories and texts, removal, retention, disk-full errors, locks.

Checkpoints, weight versions and exports are written through it. Writers work in `<name>.tmp-<token>` beside the target and
rename; removals rename to `<name>.trash-<token>` first; so a kill at any point leaves only names that `sweep` recognises.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

from areal.utils.errors import CheckpointError, ConfigError
from areal.utils.logging import getLogger

logger = getLogger("fs")

_LEFTOVER = re.compile(r".+\.(tmp|trash)-[0-9a-f]{8}")
_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# safetensors and torch report a failed write in words of their own, with the text of the system inside
_FULL_TEXTS = ("No space left on device", "StorageFull", "Disk quota exceeded", "File too large", "FileTooLarge")


class AtomicDirectory:
    """`with AtomicDirectory(final) as tmp:` the body writes the directory `tmp` (or a file); on success it becomes `final`.

    `tmp` does not exist on entry; its parent does. An existing `final` is replaced. On any exception `tmp` is removed and
    `final` stays as it was; if the disk is full, the exception becomes a `CheckpointError` with bytes needed and free.
    `fsync` makes the content survive a power loss (a kill needs none), at the price of waiting for the disk.
    """

    def __init__(self, final: str | Path, *, fsync: bool = False, bytes_needed: int | None = None) -> None:
        self.final = Path(final)
        self._tmp = sibling(self.final, "tmp")
        self._fsync = fsync
        self._bytes_needed = bytes_needed

    def __enter__(self) -> Path:
        self.final.parent.mkdir(parents=True, exist_ok=True)
        if self._bytes_needed is not None and self._bytes_needed > free_bytes(self.final.parent):
            raise disk_full_error(self.final, self._bytes_needed)
        return self._tmp

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is None:
            if not self._tmp.exists():
                raise CheckpointError(f"expected files in {self._tmp}, but its writer wrote nothing there")
            self._publish()
            return
        num_written = tree_bytes(self._tmp)
        shutil.rmtree(self._tmp, ignore_errors=True)
        if is_disk_full(error):
            raise disk_full_error(self.final, self._bytes_needed, num_written) from error

    def _publish(self) -> None:
        if self._fsync:
            fsync_tree(self._tmp)
        replaced = sibling(self.final, "trash")
        with contextlib.suppress(FileNotFoundError):
            self.final.rename(replaced)
        self._tmp.rename(self.final)
        if self._fsync:
            fsync_path(self.final.parent)
        shutil.rmtree(replaced, ignore_errors=True)


def sibling(path: Path, kind: str) -> Path:
    """A fresh name beside `path` that `sweep` will recognise; `kind` is "tmp" or "trash"."""
    return path.with_name(f"{path.name}.{kind}-{secrets.token_hex(4)}")


def write_text_atomic(path: str | Path, text: str, *, fsync: bool = False) -> None:
    """Replace the content of a file in one step: a reader sees the old text or the new one."""
    path = Path(path)
    tmp = sibling(path, "tmp")
    try:
        tmp.write_text(text, encoding="utf-8")
        if fsync:
            fsync_path(tmp)
        tmp.replace(path)
    except OSError as error:
        tmp.unlink(missing_ok=True)
        if is_disk_full(error):
            raise disk_full_error(path, len(text)) from error
        raise
    if fsync:
        fsync_path(path.parent)


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Own `path` (and what its folder stands for) as long as this process lives; `ConfigError` if another process does.

    No child inherits the lock, so a killed process releases it at once, whatever it leaves behind.
    """
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            raise ConfigError(
                f"expected {path.parent} for this run alone, but process {file.read().strip()} works in it; wait for that "
                "run, end it, or choose another trial_name"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def fsync_path(path: Path) -> None:
    """Wait until a file, or the entries of a directory, are on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_tree(path: Path) -> None:
    """`fsync_path` for a directory and everything below it, whoever wrote it."""
    for folder, _, files in os.walk(path):
        for name in files:
            fsync_path(Path(folder, name))
        fsync_path(Path(folder))


def remove_tree(path: Path) -> None:
    """Remove a directory so that a reader never sees half of it under its name. A missing one is fine."""
    trash = sibling(path, "trash")
    with contextlib.suppress(FileNotFoundError):
        path.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)


def sweep(root: Path) -> list[str]:
    """Remove what killed writers and removers left directly below `root`; returns the removed names."""
    if not root.is_dir():
        return []
    names = sorted(entry.name for entry in root.iterdir() if _LEFTOVER.fullmatch(entry.name))
    for name in names:
        if (root / name).is_dir():
            shutil.rmtree(root / name, ignore_errors=True)
        else:
            (root / name).unlink(missing_ok=True)
    if names:
        logger.info("removed the leftovers of a killed run in %s: %s", root, ", ".join(names))
    return names


def prune(directories: Iterable[Path], keep_last: int | None) -> list[Path]:
    """Remove all but the `keep_last` most recently written directories (None keeps all); returns the removed ones."""
    if keep_last is None:
        return []
    # by time, not by number: a run started over in the same place writes lower steps than its predecessor
    newest_first = sorted(directories, key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in newest_first[keep_last:]:
        remove_tree(path)
    return newest_first[keep_last:]


def tree_bytes(path: Path) -> int:
    """Sum of the sizes of all files below `path`, in bytes; 0 if it does not exist."""
    return sum(Path(folder, name).stat().st_size for folder, _, files in os.walk(path) for name in files)


def free_bytes(path: Path) -> int:
    """Bytes this user may still write on the file system of `path` (or of its nearest existing parent)."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def is_disk_full(error: BaseException) -> bool:
    """Whether an exception says that the disk, a quota or a file-size limit is exhausted."""
    if isinstance(error, OSError) and error.errno in _FULL_ERRNOS:
        return True
    return any(text in str(error) for text in _FULL_TEXTS)


def disk_full_error(path: Path, bytes_needed: int | None, bytes_written: int = 0) -> CheckpointError:
    """The error for a write of `bytes_needed` (None: unknown) that the disk under `path` did not take."""
    needed = f"{bytes_needed:,}" if bytes_needed is not None else f"more than {bytes_written:,}"
    return CheckpointError(
        f"cannot write {path}: the disk (or a quota) is full; expected room for {needed} bytes, got "
        f"{free_bytes(path.parent):,} free. What was saved before is intact. Free space, lower keep_last, or move "
        "cluster.fileroot to a larger disk"
    )
