# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Loggers with areal's format. Configures only the `areal` logger, never the host application's logging."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TextIO

_ROOT = "areal"
_FORMAT = "(AReaL) %(asctime)s.%(msecs)03d %(name)s %(levelname)s: %(message)s"
_DATE_FORMAT = "%Y%m%d-%H:%M:%S"


class _StderrHandler(logging.StreamHandler):
    """Writes to whatever `sys.stderr` is at that moment: tests and notebooks replace it."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        """The stream is never kept."""


def getLogger(name: str | None = None, level: int | None = None) -> logging.Logger:  # noqa: N802 - public name of the contract
    """Return the logger `areal.<name>`; the level of new roots comes from `AREAL_LOG_LEVEL` (default INFO)."""
    root = logging.getLogger(_ROOT)
    if not root.handlers:
        handler = _StderrHandler()
        handler.setFormatter(logging.Formatter(_FORMAT, _DATE_FORMAT))
        root.addHandler(handler)
        root.setLevel(os.environ.get("AREAL_LOG_LEVEL", "INFO").upper())
        root.propagate = False
    logger = root.getChild(name.removeprefix(f"{_ROOT}.")) if name else root
    if level is not None:
        logger.setLevel(level)
    return logger


def setup_file_logging(log_dir: str | Path, filename: str = "main.log") -> Path:
    """Also write every areal log line to `log_dir/filename` (appended); returns the file's path. Idempotent per file."""
    path = Path(log_dir) / filename
    path.parent.mkdir(parents=True, exist_ok=True)
    root = getLogger()
    if not any(isinstance(h, logging.FileHandler) and h.baseFilename == str(path.resolve()) for h in root.handlers):
        handler = logging.FileHandler(path.resolve())
        handler.setFormatter(logging.Formatter(_FORMAT, _DATE_FORMAT))
        root.addHandler(handler)
    return path
