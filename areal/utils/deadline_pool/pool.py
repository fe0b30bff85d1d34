# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The pool: worker processes watched by one event loop, one call at a time each.

A worker holds one call, so a call that loops, leaks or crashes takes nobody with it; waiting calls stay here. The deadline
runs from the moment a worker begins, not from the submission, and kills the worker with all its children. Nothing polls.
Must be used from the loop's own thread.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque

from areal.utils.deadline_pool.handle import Call, PoolFunction, WorkerEvents, WorkerHandle, WorkerState
from areal.utils.errors import InfraError, UserCodeError
from areal.utils.logging import getLogger
from areal.utils.process import describe_exit, kill_tree

logger = getLogger("deadline_pool")

MAX_CALLS_PER_WORKER = 10_000
"""After so many calls a worker is replaced: small leaks of user code cannot add up."""
MAX_RSS_BYTES = 2 * 2**30
"""A worker above this resident memory is replaced after its call."""
MAX_START_FAILURES = 3
"""Failed starts in a row after which the waiting calls are given up."""


class DeadlinePool:
    """Runs calls in up to `max_workers` processes, started on demand, on the running event loop."""

    def __init__(
        self, max_workers: int, max_calls: int = MAX_CALLS_PER_WORKER, max_rss_bytes: int = MAX_RSS_BYTES
    ) -> None:
        self.max_workers = max_workers
        self.max_calls = max_calls
        self.max_rss_bytes = max_rss_bytes
        self.workers: set[WorkerHandle] = set()
        self._loop = asyncio.get_running_loop()
        self._events = WorkerEvents(idle=self._on_idle, dead=self._on_dead, ended=self._on_ended)
        self._owner_pid = os.getpid()
        self._waiting: deque[Call] = deque()
        self._idle: list[WorkerHandle] = []
        self._start_failures = 0
        self._closed = False

    def submit(
        self, function: PoolFunction, payload: bytes, timeout_s: float, max_retries: int
    ) -> asyncio.Future[float]:
        """Queue a call; `payload` is the pickled `(args, kwargs)`.

        The future gives the number; `UserCodeError` when the function raised, ran past `timeout_s`, crashed its process
        `max_retries + 1` times or returned no finite number; `InfraError` when no process could do the work.
        """
        if self._closed:
            raise InfraError("the pool is closed; make the call before shutdown")
        call = Call(function, payload, timeout_s, max_retries, self._loop.create_future())
        self._waiting.append(call)
        self._dispatch()
        return call.future

    async def close(self) -> None:
        """Kill all workers and wait until they are gone; calls in flight fail with `InfraError`. Idempotent."""
        self._closed = True
        workers = list(self.workers)
        for call in [*self._waiting, *(worker.call for worker in workers if worker.call is not None)]:
            call.fail(InfraError(f"{call.function.where}: the pool was closed during the call"))
        self._waiting.clear()
        for worker in workers:
            worker.kill()
        await asyncio.gather(*(worker.reaped for worker in workers if worker.reaped is not None))

    def kill_processes(self) -> None:
        """Kill the workers when the loop cannot do it any more; does nothing in a fork of the process that started them."""
        self._closed = True
        if self._owner_pid == os.getpid():
            for worker in self.workers:
                kill_tree(worker.process.pid)
                worker.process.wait()

    def _dispatch(self) -> None:
        """Give waiting calls to idle workers; start workers for the rest."""
        while self._waiting and self._idle:
            call = self._waiting.popleft()
            if not call.future.done():  # a cancelled caller takes no worker
                self._idle.pop().begin(call)
        num_starting = sum(worker.state is WorkerState.STARTING for worker in self.workers)
        for _ in range(min(len(self._waiting) - num_starting, self.max_workers - len(self.workers))):
            try:
                self.workers.add(WorkerHandle(self._events))
            except OSError as error:  # no memory, process or file descriptor left: another try now would fail as well
                self._give_up(f"a worker could not be started: {error}")
                return

    def _on_idle(self, worker: WorkerHandle) -> None:
        self._start_failures = 0
        if worker.num_calls >= self.max_calls or worker.rss_bytes > self.max_rss_bytes:
            logger.debug("replacing a worker after %d calls, at %d bytes", worker.num_calls, worker.rss_bytes)
            worker.kill()
        else:
            self._idle.append(worker)
            self._dispatch()

    def _on_dead(self, worker: WorkerHandle) -> None:
        self.workers.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        if not self._closed:
            # Soon, not now: a worker that ended by itself first says what becomes of its call.
            self._loop.call_soon(self._dispatch)

    def _on_ended(self, state: WorkerState, call: Call | None, returncode: int | None) -> None:
        """A worker ended by itself: retry its call on another worker, or type the failure."""
        cause = describe_exit(returncode)
        if state is WorkerState.STARTING:
            self._start_failures += 1
            logger.warning("a worker ended with %s while it was started", cause)
            if self._start_failures >= MAX_START_FAILURES:
                self._give_up(
                    f"{self._start_failures} workers in a row ended while they were started; the last: {cause}"
                )
        elif call is not None and call.retries_left > 0 and not call.future.done():
            call.retries_left -= 1
            logger.warning("%s: its worker ended with %s; trying again", call.function.where, cause)
            self._waiting.appendleft(call)
        elif call is not None and returncode == -signal.SIGKILL:
            where = call.function.where
            call.fail(InfraError(f"{where}: its process was killed from outside, likely for want of memory"))
        elif call is not None:
            call.fail(UserCodeError(call.function.where, "ProcessDied", f"the process that ran it ended with {cause}"))

    def _give_up(self, text: str) -> None:
        self._start_failures = 0
        while self._waiting:
            call = self._waiting.popleft()
            call.fail(InfraError(f"{call.function.where} could not run: {text}"))
