# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`RUN_DIR/stats.jsonl`, always on: one flat JSON object a commit, flushed at once. `areal report` reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from areal.utils.jsonl import read_jsonl, to_line

LOG_STEP = "log_step"  # place of a row in the file; differs from global_step when a step commits several rows


class JsonlBackend:
    """Appends rows to `path`. A file left by an earlier run that is not resumed is kept beside it as `stats.1.jsonl`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._resumes = False
        self._file: IO[str] | None = None

    def log(self, log_step: int, row: Mapping[str, float]) -> None:
        """Append one row; it survives a kill of this process from here on."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if not self._resumes:
                _keep_aside(self._path)
            self._file = self._path.open("a", encoding="utf-8")
        self._file.write(to_line({LOG_STEP: log_step, **row}))
        self._file.flush()

    def resume_after(self, log_step: int) -> None:
        """Drop the rows after `log_step`, and a torn last line; atomic, so a kill meanwhile loses nothing."""
        self._resumes = True
        if not self._path.exists():
            return
        rows, _ = read_jsonl(self._path)
        kept = [row for row in rows if row.get(LOG_STEP, 0) <= log_step]
        partial = self._path.with_suffix(".partial")
        with partial.open("w", encoding="utf-8") as file:
            file.writelines(to_line(row) for row in kept)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _keep_aside(path: Path) -> None:
    if not path.exists():
        return
    number = 1
    while (old := path.with_suffix(f".{number}.jsonl")).exists():
        number += 1
    path.rename(old)
