# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""One asyncio event loop in one daemon thread, for synchronous callers.

The rollout executor and the inference client of an engine share one. A dead thread fails every call that waits for it,
and later ones, with the cause. It must never be waited for from its own thread.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from areal.utils.errors import InfraError, WorkerDied
from areal.utils.logging import getLogger

logger = getLogger("rollout")

T = TypeVar("T")

STOP_TIMEOUT_S = 30.0
"""How long `stop` waits for cancelled coroutines and for the thread."""


class LoopThread:
    """Runs coroutines for other threads; `start` it first, `stop` it last."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._lock = threading.Lock()
        self._pending: set[Future[Any]] = set()
        self._death: InfraError | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def is_current(self) -> bool:
        """Whether the caller runs in this thread."""
        return threading.current_thread() is self._thread

    def is_alive(self) -> bool:
        """Whether the thread was started and has not ended."""
        return self._thread.is_alive()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run `coroutine` on the loop; the future fails if the thread dies first."""
        with self._lock:
            if self._death is not None:
                coroutine.close()
                raise self._death
            future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
            self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` and wait for its result; an interrupted wait cancels it."""
        if self.is_current():
            coroutine.close()
            raise RuntimeError(f"a coroutine of thread {self.name!r} called a blocking method; expected another thread")
        future = self.submit(coroutine)
        try:
            return future.result()
        finally:
            future.cancel()

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a plain function on the loop and wait for its result."""

        async def run_it() -> T:
            return function(*args)

        return self.run(run_it())

    def call_soon(self, function: Callable[..., object], *args: object) -> None:
        """Call `function` on the loop without waiting for it."""
        with self._lock:
            if self._death is not None:
                raise self._death
            self.loop.call_soon_threadsafe(function, *args)

    def stop(self) -> None:
        """Cancel what still runs, stop the loop and join the thread. Idempotent."""
        if not self.is_alive():
            return
        self.submit(self._cancel_all()).result(STOP_TIMEOUT_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(STOP_TIMEOUT_S)
        if self._thread.is_alive():
            logger.warning("thread %r still runs %g s after it was told to stop", self.name, STOP_TIMEOUT_S)

    async def _cancel_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_TIMEOUT_S / 2)
        await self.loop.shutdown_asyncgens()

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self._on_exit(sys.exception())

    def _on_exit(self, cause: BaseException | None) -> None:
        if cause is None:
            death: InfraError = InfraError(
                f"thread {self.name!r} was stopped; expected a running engine, call initialize()"
            )
            self.loop.close()
        else:
            death = WorkerDied(f"thread {self.name!r} died of {cause!r}; nothing it ran can be waited for any more")
            death.__cause__ = cause
        with self._lock:
            self._death = death
            pending = list(self._pending)
        for future in pending:
            if not future.done():
                future.set_exception(death)
