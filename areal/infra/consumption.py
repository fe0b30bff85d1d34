# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Which finished tasks a training batch is made of: the hard staleness rule at consumption.

A task admitted at version a may be consumed at a + eta at the latest, and B tasks are consumed a version. A batch for
version v is therefore taken only when, for every k >= 0, at most k * B tasks admitted at version <= v - eta + k still run
(k = 0: nothing that is due now runs); it then takes the oldest finished tasks. By induction over v at most (k + 1) * B
unconsumed tasks of version <= v - eta + k exist: admission gives it for k = eta, and each batch hands it to the next
version. So no token is ever older than eta, and nothing is thrown away for it.
Pure bookkeeping on the rollout loop: no clock, no futures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from areal.api.io_struct import Outcome

if TYPE_CHECKING:
    import asyncio

    from areal.api.engine_api import SampleStream, Trajectory


class TaskState(Enum):
    """`WAITING -> RUNNING -> DONE -> CONSUMED`; `RUNNING` or `DONE -> DROPPED` for tasks no batch may take."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CONSUMED = "consumed"
    DROPPED = "dropped"


@dataclass(slots=True)
class EpisodeResult:
    """How an episode ended: a trajectory when `SCORED`, otherwise None; plus errors of samples a group did without."""

    outcome: Outcome
    trajectory: Trajectory | None
    member_errors: tuple[BaseException, ...] = ()


EpisodeFn = Callable[[int, dict[str, Any]], Coroutine[Any, Any, EpisodeResult]]
"""`episode(task_id, data)`: runs the workflow once on an item."""


@dataclass(frozen=True, eq=False)
class SampleSource:
    """Where `prepare_batch` takes its tasks from: a sample stream and the episode to run on each sample."""

    loader: SampleStream
    episode: EpisodeFn
    is_dynamic: bool  # a batch counts rejected tasks too, so it may hold fewer trajectories than its size


@dataclass(slots=True, eq=False)
class RolloutTask:
    """One prompt with its group on its way through the executor."""

    task_id: int
    data: dict[str, Any]
    episode: EpisodeFn
    source: SampleSource | None = None
    state: TaskState = TaskState.WAITING
    seq: int = -1  # order of admission
    version: int = -1  # policy version at admission
    started_s: float = 0.0
    num_attempts: int = 0
    is_claimed: bool = False  # someone waits for exactly this task
    handle: asyncio.Task[EpisodeResult] | None = None
    outcome: Outcome | None = None
    trajectory: Trajectory | None = None


class ConsumptionQueue:
    """Tasks of `prepare_batch` that were admitted and not consumed, in order of admission.

    `in_order` (deterministic mode) makes a batch the oldest tasks, finished or not, instead of the oldest finished ones.
    """

    def __init__(self, max_staleness: int, in_order: bool) -> None:
        self.max_staleness = max_staleness
        self.num_done = 0
        self._in_order = in_order
        self._order: list[RolloutTask] = []
        self._num_running: Counter[int] = Counter()  # by version at admission
        self._frontier = 0  # no task before this position still runs ...
        self._num_leading = 0  # ... and so many before it are done

    def admit(self, task: RolloutTask) -> None:
        """Add a task that just started."""
        self._order.append(task)
        self._num_running[task.version] += 1

    def on_end(self, task: RolloutTask) -> None:
        """An admitted task ended; its state says whether it can be consumed."""
        self._stop(task)
        self.num_done += task.state is TaskState.DONE

    def is_ready(self, version: int, count: int) -> bool:
        """Whether a batch of `count` tasks can be taken at `version` and every later one will still be in time."""
        if self.num_done < count:
            return False
        return self._leading() >= count if self._in_order else self.blocking_version(version, count) is None

    def blocking_version(self, version: int, count: int) -> int | None:
        """The admission version up to which too many tasks still run to take a batch of `count` now."""
        num_running = 0
        for admitted in sorted(self._num_running):
            num_running += self._num_running[admitted]
            if num_running > max(0, admitted - version + self.max_staleness) * count:
                return admitted
        return None

    def take(self, count: int) -> list[RolloutTask]:
        """Remove the oldest `count` finished tasks; call when `is_ready`."""
        taken: list[RolloutTask] = []
        running: list[RolloutTask] = []
        position = 0
        while len(taken) < count:
            task = self._order[position]
            position += 1
            if task.state is TaskState.DONE:
                task.state = TaskState.CONSUMED
                taken.append(task)
            elif task.state is TaskState.RUNNING:
                running.append(task)
        self._reset(running + self._order[position:])
        self.num_done -= count
        return taken

    def drop_if(self, condition: Callable[[RolloutTask], bool]) -> list[RolloutTask]:
        """Remove the tasks that fulfil `condition`; the caller decides what becomes of them."""
        dropped = [task for task in self._order if condition(task)]
        if dropped:
            gone = {id(task) for task in dropped}
            self._reset([task for task in self._order if id(task) not in gone])
            for task in dropped:
                if task.state is TaskState.RUNNING:
                    self._stop(task)
                else:
                    self.num_done -= 1
        return dropped

    def pop_expired(self, version: int) -> list[RolloutTask]:
        """Remove tasks that would be older than eta if consumed at `version`: the version moved on without batches."""
        oldest = version - self.max_staleness
        if not self._order or self._order[0].version >= oldest:
            return []
        return self.drop_if(
            lambda task: task.version < oldest and (task.state is TaskState.RUNNING or task.trajectory is not None)
        )

    def _leading(self) -> int:
        while self._frontier < len(self._order) and self._order[self._frontier].state is not TaskState.RUNNING:
            self._num_leading += self._order[self._frontier].state is TaskState.DONE
            self._frontier += 1
        return self._num_leading

    def _stop(self, task: RolloutTask) -> None:
        self._num_running[task.version] -= 1
        if not self._num_running[task.version]:
            del self._num_running[task.version]

    def _reset(self, order: list[RolloutTask]) -> None:
        self._order, self._frontier, self._num_leading = order, 0, 0
