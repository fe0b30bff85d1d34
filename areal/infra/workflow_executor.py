# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The rollout executor for synchronous callers: submit, wait and prepare_batch in front of the rollout core.

One asyncio loop in one thread runs every episode; a call crosses the thread boundary once per batch, not per episode.
Inference engines own an executor; trainers call it through them. It must never run user code on the caller's thread, nor
mark samples consumed except while the caller waits in prepare_batch, so that the caller may save the stream's state.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from areal.api.engine_api import AcceptFn, InferenceEngine, SampleStream, Trajectory
from areal.api.io_struct import Outcome
from areal.api.workflow_api import RolloutWorkflow, WorkflowLike
from areal.infra.consumption import EpisodeFn, EpisodeResult, RolloutTask, SampleSource
from areal.infra.loop_thread import LoopThread
from areal.infra.rollout_core import RolloutCore, TakenBatch
from areal.infra.rollout_stats import RolloutStats
from areal.infra.staleness_manager import UNLIMITED_STALENESS, StalenessManager
from areal.infra.workflow_resolution import resolve_accept_fn, resolve_workflow
from areal.utils import perf_tracer, workflow_context
from areal.utils.data import check_trajectory_format
from areal.utils.errors import ArealError, ConfigError, DeadlineExceeded
from areal.utils.workflow_context import WorkflowContext

if TYPE_CHECKING:
    from areal.api.cli_args import InferenceEngineConfig

DumpFn = Callable[[Trajectory, int, bool], None]
"""`dump(trajectory, task_id, is_eval)`, called for every accepted trajectory."""


class WorkflowExecutor:
    """Runs workflows on an engine under the staleness account.

    With `is_eval` the account is unlimited, so that evaluation never waits for a version. `loop_thread` may be shared.
    """

    def __init__(
        self,
        config: InferenceEngineConfig,
        inference_engine: InferenceEngine,
        *,
        loop_thread: LoopThread | None = None,
        is_eval: bool = False,
        dump: DumpFn | None = None,
    ) -> None:
        self.config = config
        self._engine = inference_engine
        self._is_eval = is_eval
        self._drop_truncated = config.drop_truncated and not is_eval  # accuracy counts them as wrong
        self._dump = dump
        self._loop = loop_thread or LoopThread("areal-rollout")
        self._owns_loop = loop_thread is None
        batch_size = config.consumer_batch_size or 1
        self.staleness_manager = StalenessManager(
            inference_engine,
            config.max_concurrent_rollouts or batch_size,
            batch_size,
            UNLIMITED_STALENESS if is_eval else config.max_head_offpolicyness,
        )
        self._stats = RolloutStats()
        self._inbox: deque[RolloutTask] = deque()
        self._is_drain_scheduled = False
        self._tasks: dict[int, RolloutTask] = {}  # submitted and not yet returned, by id
        self._ids = itertools.count()
        self._source: SampleSource | None = None
        self._source_key: tuple[Any, ...] = ()
        self._random = None if config.deterministic_sampling else random.Random(0)

    def initialize(self) -> None:
        """Start the thread (unless it is shared) and the core."""
        if self._owns_loop:
            self._loop.start()
        self._core = self._loop.call(self._make_core)

    def destroy(self) -> None:
        """Cancel everything that runs and stop the thread (unless it is shared)."""
        self._loop.run(self._core.close())
        if self._owns_loop:
            self._loop.stop()

    def submit(
        self,
        data: dict[str, Any],
        workflow: WorkflowLike,
        workflow_kwargs: dict[str, Any] | None = None,
        should_accept_fn: AcceptFn | str | None = None,
        group_size: int = 1,
        task_id: int | None = None,
        drop_incomplete_group: bool = False,
    ) -> int:
        """Enqueue one item and return its task id; never blocks.

        `ConfigError` when `queue_size` tasks wait already, `ValueError` for a `task_id` that is in use.
        """
        runnable = resolve_workflow(workflow, workflow_kwargs, group_size, drop_incomplete_group, self._drop_truncated)
        episode = partial(self._run_episode, runnable, resolve_accept_fn(should_accept_fn))
        return self._enqueue(data, episode, task_id).task_id

    def wait(self, count: int, timeout: float | None = None, raise_timeout: bool = True) -> list[Trajectory | None]:
        """The trajectories of the oldest `count` finished tasks, shuffled; None for a task that yields nothing.

        Deterministic mode returns them by task id, not shuffled. On expiry of `timeout` [s]: `DeadlineExceeded`, or `[]`
        without `raise_timeout` (nothing is lost).
        """
        if count <= 0:
            raise ValueError(f"wait: expected a count of at least 1, got {count}")
        try:
            tasks = self._loop.run(self._core.submitted.wait(count, timeout))
        except DeadlineExceeded:
            if raise_timeout:
                raise
            return []
        for task in tasks:
            del self._tasks[task.task_id]
        _arrange(tasks, self._random)
        return [task.trajectory for task in tasks]

    def wait_for_task(
        self, task_id: int, timeout: float | None = None, raise_timeout: bool = True
    ) -> Trajectory | None:
        """The trajectory of one submitted task; `ValueError` for an id that is unknown or was returned already."""
        task = self._tasks.get(task_id)
        if task is None:
            raise ValueError(f"task {task_id} is unknown or was returned already; expected an id that submit() gave")
        try:
            self._loop.run(self._core.submitted.wait_for([task], timeout))
        except DeadlineExceeded:
            if raise_timeout:
                raise
            return None
        del self._tasks[task_id]
        return task.trajectory

    def rollout_batch(
        self,
        data: Sequence[dict[str, Any]],
        workflow: WorkflowLike,
        workflow_kwargs: dict[str, Any] | None = None,
        should_accept_fn: AcceptFn | str | None = None,
        group_size: int = 1,
        drop_incomplete_group: bool = False,
    ) -> list[Trajectory]:
        """Run all items to their end; the accepted trajectories in the order of `data`."""
        runnable = resolve_workflow(workflow, workflow_kwargs, group_size, drop_incomplete_group, self._drop_truncated)
        episode = partial(self._run_episode, runnable, resolve_accept_fn(should_accept_fn))
        tasks = [self._enqueue(item, episode, None, is_claimed=True) for item in data]
        self._loop.run(self._core.submitted.wait_for(tasks))
        for task in tasks:
            del self._tasks[task.task_id]
        return [task.trajectory for task in tasks if task.trajectory is not None]

    def prepare_batch(
        self,
        dataloader: SampleStream,
        workflow: WorkflowLike,
        workflow_kwargs: dict[str, Any] | None = None,
        should_accept_fn: AcceptFn | str | None = None,
        group_size: int = 1,
        dynamic_bs: bool = False,
        drop_incomplete_group: bool = False,
    ) -> list[Trajectory]:
        """The next `dataloader.batch_size` trajectories, none staler than `max_head_offpolicyness`.

        With `dynamic_bs` rejected tasks count towards the batch, so fewer come back. Every argument may change between
        calls: it applies to tasks started from now on; those in flight are consumed first. Task id = index of the sample.
        """
        batch_size = dataloader.batch_size
        self._check_batch_size(batch_size)
        key = (dataloader, workflow, should_accept_fn, group_size, dynamic_bs, drop_incomplete_group)
        key += tuple(itertools.chain.from_iterable((workflow_kwargs or {}).items()))
        source = self._source
        if (
            source is None
            or len(key) != len(self._source_key)
            or any(a is not b for a, b in zip(key, self._source_key))
        ):
            runnable = resolve_workflow(
                workflow, workflow_kwargs, group_size, drop_incomplete_group, self._drop_truncated
            )
            episode = partial(self._run_episode, runnable, resolve_accept_fn(should_accept_fn))
            source = SampleSource(dataloader, episode, dynamic_bs)
            self._source, self._source_key = source, key
        return self._loop.run(self._take_batch(source, batch_size))

    def pause(self) -> None:
        """Start no more tasks; running ones go on and are harvested."""
        self._loop.call_soon(self._core.pause)

    def resume(self) -> None:
        """Undo `pause`."""
        self._loop.call_soon(self._core.resume)

    def fail(self, failure: ArealError) -> None:
        """Give everyone who waits for rollouts, now or later, this error: the run cannot go on."""
        self._loop.call_soon(self._core.waiters.fail, failure)

    def on_version_changed(self) -> None:
        """The engine's version moved: admission looks again."""
        self._loop.call_soon(self._core.notify)

    def wait_reason(self) -> str:
        """Why a consumer would wait now, in words; from any thread."""
        return self._loop.call(self._core.wait_reason)

    def export_stats(self) -> dict[str, float]:
        """Outcomes, staleness and shape of the batches since the last export; gauges of now."""
        return self._loop.call(self._stats.export, self._core)

    async def _take_batch(self, source: SampleSource, count: int) -> list[Trajectory]:
        taken = await self._core.next_batch(source, count)
        _mark_consumed(taken)
        self._stats.on_batch(taken.version, taken.tasks)
        _arrange(taken.tasks, self._random)
        return [task.trajectory for task in taken.tasks if task.trajectory is not None]

    def _make_core(self) -> RolloutCore:
        return RolloutCore(
            self.staleness_manager,
            self.config.max_repeated_failures,
            in_order=self.config.deterministic_sampling,
            stall_s=self.config.request_timeout,
        )

    def _enqueue(
        self, data: dict[str, Any], episode: EpisodeFn, task_id: int | None, is_claimed: bool = False
    ) -> RolloutTask:
        limit = self.config.queue_size
        if limit is not None and not is_claimed:
            num_waiting = self.staleness_manager.get_stats().enqueued + len(self._inbox)
            if num_waiting >= limit:
                raise ConfigError(
                    f"queue_size: expected fewer than {limit} waiting tasks, got {num_waiting}; wait() first"
                )
        if task_id is None:
            task_id = next(number for number in self._ids if number not in self._tasks)
        task = RolloutTask(task_id, data, episode, is_claimed=is_claimed)
        if self._tasks.setdefault(task_id, task) is not task:
            raise ValueError(f"task_id {task_id} is in use; expected an id that no unreturned task has")
        self._inbox.append(task)
        if not self._is_drain_scheduled:
            self._is_drain_scheduled = True
            self._loop.call_soon(self._drain_inbox)
        return task

    def _drain_inbox(self) -> None:
        self._is_drain_scheduled = False  # first: a task appended from here on schedules another drain
        self._core.submit(self._inbox.popleft() for _ in range(len(self._inbox)))

    async def _run_episode(
        self, workflow: RolloutWorkflow, accept: AcceptFn | None, task_id: int, data: dict[str, Any]
    ) -> EpisodeResult:
        context = WorkflowContext(self._is_eval, task_id)
        workflow_context.set(context)
        if perf_tracer.is_configured():
            perf_tracer.set_task_id(task_id)
        trajectory = await workflow.arun_episode(self._engine, data)
        if trajectory is None:
            return EpisodeResult(Outcome(context.rejection or Outcome.REJECTED), None, context.member_errors)
        if self.config.check_trajectory_format:
            check_trajectory_format(trajectory)
        if accept is not None and not accept(trajectory):
            return EpisodeResult(Outcome.REJECTED, None, context.member_errors)
        trajectory["task_ids"] = torch.from_numpy(
            np.array([task_id] * trajectory["input_ids"].shape[0], dtype=np.int64)
        )
        if self._dump is not None:
            self._dump(trajectory, task_id, self._is_eval)
        return EpisodeResult(Outcome.SCORED, trajectory, context.member_errors)

    def _check_batch_size(self, batch_size: int) -> None:
        if self.config.consumer_batch_size is None:
            self.staleness_manager.set_batch_size(batch_size, self.config.max_concurrent_rollouts)
        elif batch_size != self.config.consumer_batch_size:
            raise ConfigError(
                f"consumer_batch_size: expected the batch size of the sample stream, {batch_size}, got "
                f"{self.config.consumer_batch_size}; the staleness bound counts batches: make them equal"
            )
        if self.config.queue_size is not None and self.config.queue_size < batch_size:
            raise ConfigError(f"queue_size: expected at least a batch of {batch_size}, got {self.config.queue_size}")


def _arrange(tasks: list[RolloutTask], generator: random.Random | None) -> None:
    """Put tasks in the order they are trained: by id, or shuffled by `generator`."""
    if generator is None:
        tasks.sort(key=lambda task: task.task_id)
    else:
        generator.shuffle(tasks)


def _mark_consumed(taken: TakenBatch) -> None:
    by_loader: dict[int, tuple[SampleStream, list[int]]] = {}
    consumed = [(task.source, task.task_id) for task in taken.tasks]
    for source, index in (*consumed, *taken.dropped):
        assert source is not None
        by_loader.setdefault(id(source.loader), (source.loader, []))[1].append(index)
    for loader, indices in by_loader.values():
        loader.mark_consumed(sorted(indices))
