# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The controller's handle on a trained role: one worker, or one process a rank, with batches split over the ranks.

Trainers call it; it knows worker groups and how to divide a batch, nothing of algorithms.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from areal.api.alloc_mode import ModelAllocation
from areal.api.cli_args import SaverConfig
from areal.api.engine_api import Trajectory
from areal.infra.workers import InProcessWorker, ProcessWorkers, WorkerGroup
from areal.utils import stat_keys
from areal.utils.data import distribute_trajectories, scatter_trajectories
from areal.utils.errors import InfraError

CALL_DEADLINE_S = 7200.0
"""One training step of a large model with long sequences stays well below this; a lost collective does not."""

LEAVE_DEADLINE_S = 30.0


class TrainGroup:
    """All ranks of one role behind single calls."""

    def __init__(self, workers: WorkerGroup, backend: str) -> None:
        self._workers = workers
        self._backend = backend
        self._strategy = ModelAllocation.from_str(backend).parallel

    @classmethod
    def start(cls, factory_path: str, backend: str, args: tuple[Any, ...], *, name: str, log_dir: Path) -> TrainGroup:
        """Start the ranks that `backend` (such as `fsdp:d4`) asks for; one rank lives in this process."""
        strategy = ModelAllocation.from_str(backend).parallel
        workers: WorkerGroup
        if strategy.world_size == 1:
            workers = InProcessWorker(factory_path, *args, name=name, deadline_s=CALL_DEADLINE_S)
        else:
            workers = ProcessWorkers(
                factory_path, strategy.world_size, args, deadline_s=CALL_DEADLINE_S, name=name, log_dir=log_dir
            )
        return cls(workers, backend)

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return self._workers.world_size

    def call(self, method: str, *args: Any) -> Any:
        """Call on every rank with the same arguments; the answer of rank 0."""
        return self._workers.call_all(method, *args)[0]

    def call_split(self, method: str, batch: Sequence[Trajectory], *args: Any) -> list[Any]:
        """Call on every rank with its share of `batch`, balanced by tokens, whole groups only; one answer a share.

        Ranks that hold parts of the same copy of the model get the same share, and its first rank answers for it.
        """
        strategy = self._strategy
        shares = scatter_trajectories(batch, distribute_trajectories(batch, strategy.dp_size))
        arguments = [(shares[strategy.data_rank(rank)], *args) for rank in range(strategy.world_size)]
        answers = self._workers.call_each(method, arguments)
        return [answers[rank] for rank in strategy.data_heads()]

    def saver_calls(
        self, mode: SaverConfig, tokenizer_path: str
    ) -> tuple[Callable[[str], object], Callable[[], object] | None]:
        """How `Saver.save` exports the model: its `export` and `finish`."""
        if not mode.is_async(self._backend):
            return lambda path: self.call("save_model", path, tokenizer_path), None
        return lambda path: self.call("save_model", path, tokenizer_path, True), lambda: self.call("finish_saves")

    def export_stats(self) -> dict[str, float]:
        """Statistics of all ranks since the last export, with the memory of ranks that are processes of their own."""
        row = self.call("export_stats")
        if not isinstance(self._workers, InProcessWorker):
            row[stat_keys.rss_key("trainer")] = sum(worker.rss_bytes for worker in self._workers.health())
        return row

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: object) -> None:
        """Close; a rank that is interrupted in a step is not waited for."""
        if isinstance(error, KeyboardInterrupt):
            self._workers.close()
        else:
            self.close()

    def close(self) -> None:
        """Let every rank leave its process group, then end the workers."""
        with contextlib.suppress(InfraError, TimeoutError):  # a broken or stuck group cannot leave; it is ended
            self._workers.call_all_async("close").result(LEAVE_DEADLINE_S)
        self._workers.close()
