# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Results of tasks that were submitted one by one, until somebody waits for them.

The rollout core reports ended tasks; the workflow executor waits, for any number of them or for given ones. Runs on the
rollout loop. Batches of `prepare_batch` are not here: `consumption` decides about those.
"""

from __future__ import annotations

import heapq

from areal.infra.consumption import RolloutTask, TaskState
from areal.infra.staleness_manager import StalenessManager
from areal.infra.waiting import Waiters


class SubmittedTasks:
    """Ended tasks by order of start, or by task id when `in_order` (deterministic mode)."""

    def __init__(self, staleness: StalenessManager, waiters: Waiters, in_order: bool) -> None:
        self._staleness = staleness
        self._waiters = waiters
        self._in_order = in_order
        self._ready: list[tuple[int, int, RolloutTask]] = []  # heap of tasks that nobody claimed

    @property
    def num_ready(self) -> int:
        """Tasks that `wait` can return at once."""
        return len(self._ready)

    def on_end(self, task: RolloutTask) -> None:
        """A submitted task is DONE."""
        if not task.is_claimed:
            self._offer(task)

    async def wait(self, count: int, timeout_s: float | None = None) -> list[RolloutTask]:
        """The oldest `count` finished submitted tasks, once that many ended in any way."""
        await self._waiters.until(
            lambda: len(self._ready) >= count,
            timeout_s,
            lambda: f"wait({count}): {len(self._ready)} of {count} done",
        )
        taken = [heapq.heappop(self._ready)[2] for _ in range(count)]
        self._consume(taken)
        return taken

    async def wait_for(self, tasks: list[RolloutTask], timeout_s: float | None = None) -> None:
        """Wait until exactly these submitted tasks ended, and take them."""
        for task in tasks:
            task.is_claimed = True
        if any(task.state is TaskState.DONE for task in tasks):
            self._ready = [entry for entry in self._ready if not entry[2].is_claimed]
            heapq.heapify(self._ready)
        num_over = 0

        def are_over() -> bool:
            nonlocal num_over
            while num_over < len(tasks) and tasks[num_over].state is TaskState.DONE:
                num_over += 1
            return num_over == len(tasks)

        try:
            await self._waiters.until(
                are_over,
                timeout_s,
                lambda: f"task {tasks[num_over].task_id}, one of {len(tasks)} waited for, is not done",
            )
        finally:
            if num_over == len(tasks):
                self._consume(tasks)
            else:
                for task in tasks:
                    self._offer(task)

    def _consume(self, tasks: list[RolloutTask]) -> None:
        for task in tasks:
            task.state = TaskState.CONSUMED
        self._staleness.on_consumed(sum(task.trajectory is not None for task in tasks))

    def _offer(self, task: RolloutTask) -> None:
        task.is_claimed = False
        if task.state is TaskState.DONE:
            heapq.heappush(self._ready, (task.task_id if self._in_order else task.seq, task.seq, task))
