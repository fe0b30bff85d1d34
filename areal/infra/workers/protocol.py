# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What the controller knows of a role's workers: one small protocol, whatever runs behind it.

Trainers and weight sync call it; `InProcessWorker` and `ProcessWorkers` implement it and pass the same contract tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable


@dataclass(frozen=True, kw_only=True)
class WorkerHealth:
    """One worker at a glance; read without asking the worker, so it answers also while the worker is busy."""

    rank: int
    pid: int
    alive: bool
    running: str | None
    """Method it executes now; None when idle."""
    running_s: float
    rss_bytes: int


@runtime_checkable
class WorkerGroup(Protocol):
    """The workers of one role. Rank r holds one object; calls run on it one at a time, in the order they were made.

    Every call has a deadline. A worker that dies (`WorkerDied`) or does not answer in time (`DeadlineExceeded`) breaks the
    group: pending and later calls raise that error, since the other ranks may be stuck in a collective with the lost one.
    An exception raised by the method itself is raised here with its own type and a note holding the remote traceback,
    and the group stays usable once all ranks have answered.

    Arguments and results must not be changed after they were handed over: an in-process worker shares them.
    """

    @property
    def world_size(self) -> int:
        """Number of workers."""
        ...

    def call_all(self, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        """Call on every rank with the same arguments; answers in rank order."""
        ...

    def call_rank(self, rank: int, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call on one rank."""
        ...

    def call_each(self, method: str, args_by_rank: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call on every rank with its own tuple of arguments; answers in rank order."""
        ...

    def call_all_async(self, method: str, *args: Any, **kwargs: Any) -> Future[list[Any]]:
        """`call_all` that returns at once."""
        ...

    def call_rank_async(self, rank: int, method: str, *args: Any, **kwargs: Any) -> Future[Any]:
        """`call_rank` that returns at once."""
        ...

    def call_each_async(self, method: str, args_by_rank: Sequence[tuple[Any, ...]]) -> Future[list[Any]]:
        """`call_each` that returns at once."""
        ...

    def health(self) -> list[WorkerHealth]:
        """The state of every worker, in rank order."""
        ...

    def close(self) -> None:
        """End the workers and all their descendants; pending calls fail. Idempotent."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...


def check_rank(rank: int, world_size: int) -> None:
    """Raise `ValueError` unless `0 <= rank < world_size`."""
    if not 0 <= rank < world_size:
        raise ValueError(f"expected a rank in [0, {world_size}), got {rank}")


def check_args_by_rank(args_by_rank: Sequence[tuple[Any, ...]], world_size: int) -> None:
    """Raise `ValueError` or `TypeError` unless there is one tuple of arguments a rank."""
    if len(args_by_rank) != world_size:
        raise ValueError(f"expected {world_size} argument tuples, one a rank; got {len(args_by_rank)}")
    for rank, args in enumerate(args_by_rank):
        if not isinstance(args, tuple):
            raise TypeError(
                f"expected a tuple of arguments for rank {rank}, got {type(args).__name__}; write `(value,)` for one value"
            )
