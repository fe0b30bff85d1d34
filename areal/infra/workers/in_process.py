# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A worker group of one worker that lives in the controller's process, on a thread of its own.

For roles that need one worker: no start-up, no copies, the same behaviour as `ProcessWorkers` otherwise. A thread cannot be
killed: after `DeadlineExceeded` the stuck call keeps its thread until the process ends.
"""

from __future__ import annotations

import operator
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from types import TracebackType
from typing import Any, Self

from areal.infra.workers.protocol import WorkerHealth, check_args_by_rank, check_rank
from areal.infra.workers.worker_main import load_factory
from areal.utils.errors import DeadlineExceeded, InfraError, WorkerDied
from areal.utils.logging import getLogger
from areal.utils.process import rss_bytes

logger = getLogger("workers")

_CLOSE_GRACE_S = 5.0  # a call that runs at close() may end by itself for so long


class _Settle:
    """Settles a future with the outcome of the `with` body, unless the deadline settled it before."""

    def __init__(self, future: Future[Any], method: str) -> None:
        self._future = future
        self._method = method
        self.worker_ended = False

    def __enter__(self) -> _Settle:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        if isinstance(error, SystemExit):  # sys.exit() in a worker ends the worker, not the controller
            fail(self._future, WorkerDied(f"worker 0 (in process) ended while running {self._method!r}: {error!r}"))
            self.worker_ended = True
        elif error is not None:
            error.add_note(f"raised in worker 0 (in process) while running {self._method!r}")
            fail(self._future, error)
        return True

    def result(self, value: Any) -> None:
        """Settle with a value."""
        try:
            self._future.set_result(value)
        except InvalidStateError:
            logger.warning("the answer of %r came after its deadline and was dropped", self._method)


def fail(future: Future[Any], error: BaseException) -> None:
    """Set an exception on a future that may have been settled meanwhile."""
    try:
        future.set_exception(error)
    except InvalidStateError:
        logger.debug("dropped an error of a call that was settled before: %s", error)


class InProcessWorker:
    """One worker made by `factory(*args)`; `factory` is a callable or `"pkg.mod:name"`. See `WorkerGroup`."""

    def __init__(
        self,
        factory: Callable[..., Any] | str,
        *args: Any,
        name: str = "worker",
        deadline_s: float = 1800.0,
        start_deadline_s: float = 300.0,
    ) -> None:
        self._name = name
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._failure: InfraError | None = None
        self._running: tuple[str, float] | None = None
        self._calls: queue.SimpleQueue[tuple[str, Callable[[], Any], float, Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"areal-{name}-0", daemon=True)
        self._thread.start()
        make = load_factory(factory) if isinstance(factory, str) else factory
        made = self._enqueue("its factory", lambda: make(*args), start_deadline_s)
        if made.exception() is not None:
            self.close()
        self._worker = made.result()

    @property
    def world_size(self) -> int:
        """Always 1."""
        return 1

    def call_rank_async(self, rank: int, method: str, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `WorkerGroup.call_rank_async`."""
        check_rank(rank, 1)
        call = operator.methodcaller(method, *args, **kwargs)
        return self._enqueue(method, lambda: call(self._worker), self._deadline_s)

    def call_all_async(self, method: str, *args: Any, **kwargs: Any) -> Future[list[Any]]:
        """See `WorkerGroup.call_all_async`."""
        call = operator.methodcaller(method, *args, **kwargs)
        return self._enqueue(method, lambda: [call(self._worker)], self._deadline_s)

    def call_each_async(self, method: str, args_by_rank: Sequence[tuple[Any, ...]]) -> Future[list[Any]]:
        """See `WorkerGroup.call_each_async`."""
        check_args_by_rank(args_by_rank, 1)
        return self.call_all_async(method, *args_by_rank[0])

    def call_rank(self, rank: int, method: str, *args: Any, **kwargs: Any) -> Any:
        """See `WorkerGroup.call_rank`."""
        return self.call_rank_async(rank, method, *args, **kwargs).result()

    def call_all(self, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        """See `WorkerGroup.call_all`."""
        return self.call_all_async(method, *args, **kwargs).result()

    def call_each(self, method: str, args_by_rank: Sequence[tuple[Any, ...]]) -> list[Any]:
        """See `WorkerGroup.call_each`."""
        return self.call_each_async(method, args_by_rank).result()

    def health(self) -> list[WorkerHealth]:
        """See `WorkerGroup.health`; the memory is that of the whole process."""
        running = self._running
        return [
            WorkerHealth(
                rank=0,
                pid=os.getpid(),
                alive=self._failure is None and self._thread.is_alive(),
                running=running[0] if running else None,
                running_s=time.monotonic() - running[1] if running else 0.0,
                rss_bytes=rss_bytes(os.getpid()),
            )
        ]

    def close(self) -> None:
        """See `WorkerGroup.close`."""
        self._break(InfraError(f"worker group {self._name!r} is closed"))
        self._calls.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_GRACE_S)
            if self._thread.is_alive():
                logger.warning("worker %s-0 still runs %s; its thread ends with the process", self._name, self._running)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _enqueue(self, method: str, call: Callable[[], Any], deadline_s: float) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # as in `ProcessWorkers`: a call cannot be cancelled
        with self._lock:
            if self._failure is None:
                self._calls.put((method, call, deadline_s, future))
                return future
            failure = self._failure
        fail(future, type(failure)(*failure.args))
        return future

    def _break(self, error: InfraError) -> None:
        """Refuse later calls with `error`; the queued ones are failed by the thread or, if it is stuck, right here."""
        with self._lock:
            self._failure = self._failure or error
            while True:
                try:
                    task = self._calls.get_nowait()
                except queue.Empty:
                    return
                if task is not None:
                    fail(task[3], type(error)(*error.args))

    def _work(self) -> None:
        try:
            self._answer_calls()
        finally:
            self._break(WorkerDied(f"worker {self._name}-0 (in process) has ended"))

    def _answer_calls(self) -> None:
        while (task := self._calls.get()) is not None:
            method, call, deadline_s, future = task
            timer = threading.Timer(deadline_s, self._expire, (method, deadline_s, future))
            timer.daemon = True
            timer.start()
            self._running = (method, time.monotonic())
            with _Settle(future, method) as settle:
                value = call()
                # idle before the caller learns the result: health() right after a call must not show it as running
                self._running = None
                settle.result(value)
            self._running = None
            timer.cancel()
            if settle.worker_ended:
                return

    def _expire(self, method: str, deadline_s: float, future: Future[Any]) -> None:
        if future.done():
            return
        frame = sys._current_frames().get(self._thread.ident or 0)
        stack = "".join(traceback.format_stack(frame)) if frame else "(the thread has ended)"
        error = DeadlineExceeded(
            f"1 of 1 worker of {self._name!r} has not answered {method!r} within {deadline_s:g} s; the group is stopped\n"
            f"  rank 0 (in process), running {method!r}, is at:\n{stack}"
        )
        fail(future, error)
        self._break(error)
