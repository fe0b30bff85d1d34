# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The rollout state machine: admits tasks, runs their episodes, and hands finished ones to a consumer.

Runs on one event loop, without threads and without a clock of its own, so tests drive it on virtual time. The thread
facade is `workflow_executor`, the account `staleness_manager`, the rule of what a batch is made of `consumption`.

    submit, source ─> WAITING ─admitted─> RUNNING ─scored─> DONE ─taken─> CONSUMED
                                           │   ^ └─rejected, failed─> DROPPED (of a source), DONE without trajectory
                                           └───┘ infrastructure error

Admission wakes on input, end of a task, version and resume. Finished tasks are harvested while paused. It must never block.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from areal.api.engine_api import Trajectory
from areal.api.io_struct import Outcome
from areal.infra.consumption import ConsumptionQueue, RolloutTask, SampleSource, TaskState
from areal.infra.episode_runner import EpisodeRunner
from areal.infra.failure_budget import FailureBudget, cause_of
from areal.infra.staleness_manager import StalenessManager
from areal.infra.submitted_tasks import SubmittedTasks
from areal.infra.waiting import Waiters
from areal.utils.errors import InfraError, UserCodeError

MAX_IDLE_BATCHES = 64
"""Batches of samples without a single trajectory that stop the run: such a filter accepts nothing."""


@dataclass(frozen=True)
class TakenBatch:
    """Tasks of one training batch, and the samples that were given up since the last one, by source."""

    tasks: list[RolloutTask]
    dropped: list[tuple[SampleSource, int]]
    version: int


class RolloutCore:
    """Admission and hand-over of rollout tasks; made and used on one running event loop."""

    def __init__(
        self, staleness: StalenessManager, max_repeated_failures: int, in_order: bool = False, stall_s: float = 3600.0
    ) -> None:
        self.staleness = staleness
        self.failures = FailureBudget(max_repeated_failures)
        self.waiters = Waiters(stall_s, self.wait_reason)
        self.runner = EpisodeRunner(self.failures, self._on_end, self.waiters.fail)
        self.batches = ConsumptionQueue(staleness.max_staleness, in_order)
        self.submitted = SubmittedTasks(staleness, self.waiters, in_order)
        self.num_expired = 0
        self.is_paused = False
        self._inputs: deque[RolloutTask] = deque()
        self._source: SampleSource | None = None
        self._dropped: list[tuple[SampleSource, int]] = []
        self._num_admitted = 0
        self._num_idle = 0  # tasks without a trajectory since the last one with
        self._wake = asyncio.Event()
        self._feeder = asyncio.get_running_loop().create_task(self._feed())
        self._feeder.add_done_callback(self._on_feeder_done)

    def submit(self, tasks: Iterable[RolloutTask]) -> None:
        """Queue tasks; they start in this order as the account allows."""
        for task in tasks:
            self.staleness.on_rollout_enqueued()
            self._inputs.append(task)
        self._wake.set()

    def notify(self) -> None:
        """Something outside changed that admission depends on: the version, or a limit."""
        self._wake.set()

    def pause(self) -> None:
        """Start no more tasks; running ones go on and are harvested."""
        self.is_paused = True

    def resume(self) -> None:
        """Undo `pause`."""
        self.is_paused = False
        self._wake.set()

    async def close(self) -> None:
        """Cancel everything that runs and wait until it is gone; waiting consumers get an error."""
        self.waiters.fail(InfraError("the rollout executor was destroyed while someone waited for rollouts"))
        self._feeder.cancel()
        await asyncio.wait({self._feeder})
        await self.runner.close()

    async def next_batch(self, source: SampleSource, count: int, timeout_s: float | None = None) -> TakenBatch:
        """Take the next `count` tasks under the hard staleness rule, keeping the account filled from `source`.

        Tasks in flight from an earlier source are consumed first; only new tasks come from `source`. At least one of them
        has a trajectory: a dynamic batch of rejected tasks only is given up, and others are started in their place.
        """
        if self._source is not None and self._source.is_dynamic and not source.is_dynamic:
            # Without dynamic batches, the rejected tasks of an earlier dynamic source are nobody's any more.
            self._give_up_rejected(
                self.batches.drop_if(lambda task: task.state is TaskState.DONE and task.trajectory is None)
            )
        self._source = source
        while True:
            version = await self._until_ready(count, timeout_s)
            tasks = self.batches.take(count)
            if any(task.trajectory is not None for task in tasks):
                break
            self._give_up_rejected(tasks)
            self._check_idle(source)
        dropped, self._dropped = self._dropped, []
        self.staleness.on_consumed(count)
        return TakenBatch(tasks, dropped, version)

    async def _until_ready(self, count: int, timeout_s: float | None) -> int:
        """Wait until `count` tasks can be taken; the version they are for."""
        self._wake.set()
        version = -1
        while version != self._version() or not self.batches.is_ready(version, count):
            version = self._version()
            self._restart_expired(version)
            await self.waiters.until(
                lambda version=version: self.batches.is_ready(version, count),
                timeout_s,
                lambda: f"prepare_batch: {self.batches.num_done} of {count} done",
            )
        return version

    def num_finished(self) -> int:
        """Tasks done and not consumed."""
        return self.batches.num_done + self.submitted.num_ready

    def wait_reason(self) -> str:
        """Why a consumer would wait now, in words."""
        stat, version = self.staleness.get_stats(), self._version()
        parts = [f"{stat.running} running, {stat.enqueued} queued"]
        if (oldest := self.runner.oldest()) is not None:
            parts.append(f"oldest running {oldest[1]:.1f} s (task {oldest[0].task_id})")
        if self.is_paused:
            parts.append("paused: call resume()")
        if (first_version := self.staleness.first_version_with_capacity()) > version:
            parts.append(f"no capacity until version {first_version} (now {version})")
        batch_size = self.staleness.consumer_batch_size
        if (blocking := self.batches.blocking_version(version, batch_size)) is not None:
            parts.append(f"tasks of version <= {blocking} must end first, or they become too stale")
        parts += [f"{num} x {cause}" for cause, num in self.failures.counts.most_common(3)]
        return "; ".join(parts)

    async def _feed(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._source is not None:
                self.staleness.spend_skipped_batches()
            while not self.is_paused and self.waiters.failure is None and self._admit(self.staleness.get_capacity()):
                pass

    def _admit(self, capacity: int) -> int:
        """Start up to `capacity` tasks; returns how many there were to start."""
        for num_started in range(capacity):
            task = self._inputs.popleft() if self._inputs else self._pull()
            if task is None:
                return num_started
            self._start(task)
        return max(0, capacity)

    def _pull(self) -> RolloutTask | None:
        source = self._source
        if source is None:
            return None
        index, data = source.loader.next_sample()
        self.staleness.on_rollout_enqueued()
        return RolloutTask(index, data, source.episode, source)

    def _start(self, task: RolloutTask) -> None:
        task.seq, task.version, task.state = self._num_admitted, self._version(), TaskState.RUNNING
        self._num_admitted += 1
        self.staleness.on_rollout_submitted()
        if task.source is not None:
            self.batches.admit(task)
        self.runner.run(task)

    def _on_feeder_done(self, feeder: asyncio.Task[None]) -> None:
        if not feeder.cancelled() and (error := feeder.exception()) is not None:
            self.waiters.fail(cause_of(error))  # the dataset raised

    def _on_end(self, task: RolloutTask, outcome: Outcome, trajectory: Trajectory | None) -> None:
        source = task.source
        task.trajectory = trajectory
        task.state = TaskState.DONE
        if trajectory is not None:
            self._num_idle = 0
            self.staleness.on_rollout_accepted()
        else:
            self._num_idle += 1
            self.staleness.on_rollout_rejected(keeps_slot=source is not None and source.is_dynamic)
        if source is None:
            self.submitted.on_end(task)
        else:
            if trajectory is None and not source.is_dynamic:
                task.state = TaskState.DROPPED
                self._dropped.append((source, task.task_id))
                self._check_idle(source)
            self.batches.on_end(task)
        self._wake.set()
        self.waiters.wake()

    def _check_idle(self, source: SampleSource) -> None:
        limit = MAX_IDLE_BATCHES * source.loader.batch_size
        if self._num_idle >= limit:
            outcomes = {outcome.value: num for outcome, num in self.runner.outcomes.items()}
            text = f"{limit} samples in a row gave no trajectory to train on; outcomes so far: {outcomes}"
            self.waiters.fail(UserCodeError("the workflow or should_accept_fn", "NothingAccepted", text))

    def _restart_expired(self, version: int) -> None:
        for task in reversed(self.batches.pop_expired(version)):
            was_running = task.state is TaskState.RUNNING
            task.state = TaskState.DROPPED
            if was_running:
                self.runner.give_up(task)
            self.num_expired += 1
            self.staleness.on_rollout_expired(was_running)
            self.staleness.on_rollout_enqueued()
            self._inputs.appendleft(RolloutTask(task.task_id, task.data, task.episode, task.source))
            self._wake.set()

    def _give_up_rejected(self, tasks: Iterable[RolloutTask]) -> None:
        """Rejected tasks that left the queue without a batch give back the slots they held."""
        for task in tasks:
            assert task.source is not None
            self._dropped.append((task.source, task.task_id))
            self.staleness.on_held_released()

    def _version(self) -> int:
        return self.staleness.version_provider.get_version()
