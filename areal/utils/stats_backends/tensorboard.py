# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""TensorBoard event files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from areal.utils.stats_backends.base import import_optional

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardBackend:
    """Writes scalars below `path`; the event file is opened at the first row, when the step to resume from is known."""

    def __init__(self, path: str) -> None:
        self._writer_class = import_optional("torch.utils.tensorboard", "tensorboard", "tensorboard").SummaryWriter
        self._path = path
        self._purge_step: int | None = None
        self._writer: SummaryWriter | None = None

    def log(self, log_step: int, row: Mapping[str, float]) -> None:
        """Add one scalar a key."""
        if self._writer is None:
            self._writer = self._writer_class(log_dir=self._path, purge_step=self._purge_step)
        for key, value in row.items():
            self._writer.add_scalar(key, value, log_step)

    def resume_after(self, log_step: int) -> None:
        """Tell readers to hide events after `log_step`."""
        self._purge_step = log_step + 1

    def close(self) -> None:
        """Flush and close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
