# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Saves that go on while training does: the state is copied at once, and a thread writes it.

    idle --start--> writing --(written on all ranks)--> published --finish--> idle

At most one at a time: a new one waits for the last. A directory appears whole or not at all, as in `saving`; what went wrong
is raised on all ranks by `finish`. Threads of different ranks talk over a gloo group of their own, never over one that
training uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor

from areal.api.io_struct import SaveLoadMeta
from areal.engine.core.model import PackedModel
from areal.engine.core.saving import failure_of, save_tokenizer, single_process_is_fine
from areal.engine.core.topology import COLLECTIVE_TIMEOUT, Topology
from areal.utils.checkpoint_dir import write_weights
from areal.utils.errors import CheckpointError
from areal.utils.fs import AtomicDirectory
from areal.utils.logging import getLogger

logger = getLogger("background_save")

Begin = Callable[[Path], Future[Any]]
"""Copies what is to be saved and begins to write it into a folder that does not exist yet."""


class BackgroundSaves:
    """The background saves of one engine. Every rank calls the same methods in the same order."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._executor = ThreadPoolExecutor(1, "background-save")
        self._group: dist.ProcessGroup | None = None
        self._path: Path | None = None
        self._pending: Future[Any] | None = None

    def save_hf(self, meta: SaveLoadMeta, model: PackedModel) -> None:
        """`saving.save_hf`, of which only the gathering of weights on rank 0 happens here."""
        self.finish()
        with closing(model.state_iter()) as items:
            weights = list(items) if self._topology.rank == 0 else _drain(items)

        def write(folder: Path) -> None:
            write_weights(folder, weights)
            model.save_hf_configs(folder)
            if meta.tokenizer is not None:
                save_tokenizer(meta.tokenizer, folder)

        self._start(Path(meta.path), lambda folder: self._executor.submit(write, folder))

    def save_sharded(self, path: str, state: dict[str, Any]) -> None:
        """`saving.save_sharded` of a state, of which only a copy is taken here."""
        self.finish()
        if dist.is_initialized() and self._group is None:
            self._group = dist.new_group(backend="gloo", timeout=COLLECTIVE_TIMEOUT)

        def begin(folder: Path) -> Future[Any]:
            with single_process_is_fine():
                return dcp.async_save(
                    state, checkpoint_id=folder, process_group=self._group, no_dist=not dist.is_initialized()
                )

        self._start(Path(path), begin, on_every_rank=True)

    def finish(self) -> None:
        """Wait until the last save is there; `CheckpointError` on every rank if it failed on any. Collective."""
        if self._path is None:
            return
        path, self._path = self._path, None
        self._topology.raise_together(self._outcome(path))

    def abandon(self) -> None:
        """Wait for the threads of this rank alone, and only log what went wrong: the engine is going away."""
        error = self._outcome(self._path) if self._path is not None else None
        if error is not None:
            logger.error("%s", error)
        self._path = None
        self._executor.shutdown()

    def _start(self, path: Path, begin: Begin, on_every_rank: bool = False) -> None:
        """Begin to write on rank 0, or on all; rank 0 publishes the folder when it is written."""
        is_first = self._topology.rank == 0
        directory = AtomicDirectory(path, fsync=True)
        self._topology.raise_together(failure_of(lambda: path.parent.mkdir(parents=True, exist_ok=True)))
        folder = Path(str(self._topology.broadcast_from_first(str(directory.__enter__()) if is_first else None)))
        started: list[Future[Any]] = []
        if is_first or on_every_rank:
            self._topology.raise_together(failure_of(lambda: started.append(begin(folder))))
        else:
            self._topology.raise_together(None)
        if is_first:
            started.append(self._executor.submit(_publish, directory, started.pop()))
        self._path, self._pending = path, started[0] if started else None

    def _outcome(self, path: Path) -> BaseException | None:
        """Wait for this rank's part: the error it ended with, if any."""
        pending, self._pending = self._pending, None
        error = None if pending is None else failure_of(pending.result)
        if error is None or isinstance(error, CheckpointError):
            return error
        return CheckpointError(f"could not save {path}: {error}. What was saved before is intact")


def _drain(items: Iterator[tuple[str, Tensor]]) -> list[tuple[str, Tensor]]:
    """Take part in all gathers and keep nothing."""
    for _ in items:
        pass
    return []


def _publish(directory: AtomicDirectory, written: Future[Any]) -> None:
    """Make the folder become the path, or remove it if writing failed."""
    with ExitStack() as stack:
        stack.push(directory)
        written.result()
