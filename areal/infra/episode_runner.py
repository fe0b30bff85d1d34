# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the episodes of admitted tasks and types how each one ends.

The rollout core starts tasks here and learns their end through `on_end`. An infrastructure error runs the same task
again after a delay (it keeps its slot); any other exception out of an episode is the user's code. Nothing is turned into
a reward, and an exception is always observed, counted and logged through the failure budget.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

from areal.api.engine_api import Trajectory
from areal.api.io_struct import Outcome
from areal.infra.consumption import EpisodeResult, RolloutTask, TaskState
from areal.infra.failure_budget import FailureBudget, retry_delay_s
from areal.utils.errors import ArealError, InfraError, UserCodeError
from areal.utils.logging import getLogger

logger = getLogger("rollout")

CLOSE_TIMEOUT_S = 10.0
"""How long cancelled episodes may take to unwind."""


class EpisodeRunner:
    """The running tasks, their asyncio tasks, and counters of outcomes (infrastructure errors count attempts)."""

    def __init__(
        self,
        failures: FailureBudget,
        on_end: Callable[[RolloutTask, Outcome, Trajectory | None], None],
        on_failure: Callable[[ArealError], None],
    ) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self._failures = failures
        self._on_end = on_end
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._running: dict[RolloutTask, None] = {}  # in order of start
        self._busy_s = 0.0
        self._busy_since_s = 0.0
        self._is_closed = False

    def run(self, task: RolloutTask) -> None:
        """Start the episode of an admitted task."""
        task.started_s = self._loop.time()
        if not self._running:
            self._busy_since_s = task.started_s
        self._running[task] = None
        self._launch(task)

    def give_up(self, task: RolloutTask) -> None:
        """Cancel a running task; its end is not reported."""
        self._forget(task)
        if task.handle is not None:
            task.handle.cancel()

    def oldest(self) -> tuple[RolloutTask, float] | None:
        """The task that runs longest, and for how many seconds."""
        task = next(iter(self._running), None)
        return None if task is None else (task, self._loop.time() - task.started_s)

    def pop_busy_s(self) -> float:
        """Seconds with at least one episode in flight since the last call."""
        self._tick()
        busy_s, self._busy_s = self._busy_s, 0.0
        return busy_s

    async def close(self) -> None:
        """Cancel all episodes and wait until they are gone."""
        self._is_closed = True
        handles = [task.handle for task in self._running if task.handle is not None]
        for handle in handles:
            handle.cancel()
        if handles:
            _, stuck = await asyncio.wait(handles, timeout=CLOSE_TIMEOUT_S)
            if stuck:
                logger.warning(
                    "%d episodes ignore cancellation after %g s and are left behind", len(stuck), CLOSE_TIMEOUT_S
                )

    def _launch(self, task: RolloutTask) -> None:
        if task.state is not TaskState.RUNNING or self._is_closed:
            return
        task.handle = self._loop.create_task(task.episode(task.task_id, task.data))
        task.handle.add_done_callback(partial(self._on_done, task))

    def _on_done(self, task: RolloutTask, handle: asyncio.Task[EpisodeResult]) -> None:
        if self._is_closed or task.state is not TaskState.RUNNING:
            if not handle.cancelled():
                handle.exception()  # observed, so that asyncio does not complain; the task was given up
        elif handle.cancelled():
            self._on_user_error(task, UserCodeError("the workflow", "CancelledError", "the episode cancelled itself"))
        elif (error := handle.exception()) is None:
            result = handle.result()
            self._failures.on_success()
            for member_error in result.member_errors:
                self._failures.note(member_error)
            self._finish(task, result.outcome, result.trajectory)
        elif isinstance(error, InfraError):
            self._on_infra_error(task, error)
        else:
            self._on_user_error(task, error)

    def _on_infra_error(self, task: RolloutTask, error: InfraError) -> None:
        task.num_attempts += 1
        failure = self._failures.on_infra_error(task.task_id, task.num_attempts, error)
        if failure is None:
            self.outcomes[Outcome.INFRA_ERROR] += 1
            self._loop.call_later(retry_delay_s(task.num_attempts), self._launch, task)
        else:
            self._on_failure(failure)
            self._finish(task, Outcome.INFRA_ERROR, None)

    def _on_user_error(self, task: RolloutTask, error: BaseException) -> None:
        failure = self._failures.on_user_error(task.task_id, error)
        if failure is not None:
            self._on_failure(failure)
        self._finish(task, Outcome.USER_ERROR, None)

    def _finish(self, task: RolloutTask, outcome: Outcome, trajectory: Trajectory | None) -> None:
        self.outcomes[outcome] += 1
        self._forget(task)
        task.handle = None
        self._on_end(task, outcome, trajectory)

    def _forget(self, task: RolloutTask) -> None:
        del self._running[task]
        if not self._running:
            self._busy_s += self._loop.time() - self._busy_since_s

    def _tick(self) -> None:
        if self._running:
            now_s = self._loop.time()
            self._busy_s += now_s - self._busy_since_s
            self._busy_since_s = now_s
