# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Consumers of rollouts that wait for a condition, with a deadline and a reason, on one event loop.

The rollout core calls `wake` when a task ended and `fail` when the run cannot go on; nothing polls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from areal.utils.errors import ArealError, DeadlineExceeded
from areal.utils.logging import getLogger

logger = getLogger("rollout")

REPORT_EVERY_S = 60.0
"""A consumer that waits this long says why in the log, and again after as long."""


class Waiters:
    """Futures of waiting consumers, and the failure that ends all waiting."""

    def __init__(self, stall_s: float, reason: Callable[[], str]) -> None:
        self.failure: ArealError | None = None
        self._stall_s = stall_s
        self._reason = reason
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._num_events = 0

    def wake(self) -> None:
        """A task ended: release the consumers whose condition holds now."""
        self._num_events += 1
        for is_ready, future in self._waiting:
            if self.failure is not None or is_ready():
                _release(future)

    def fail(self, failure: ArealError) -> None:
        """Everyone who waits, now or later, gets the first `failure`."""
        self.failure = self.failure or failure
        self.wake()

    async def until(self, is_ready: Callable[[], bool], timeout_s: float | None, who: Callable[[], str]) -> None:
        """Return once `is_ready()`; raise the failure, or `DeadlineExceeded` saying who waits for whom.

        Without `timeout_s` the deadline is `stall_s` without a single task ending: a long batch is no error, a dead one is.
        """
        loop = asyncio.get_running_loop()
        began_s = progress_s = loop.time()
        num_events = self._num_events
        while True:
            if self.failure is not None:
                raise self.failure
            if is_ready():
                return
            now_s = loop.time()
            if num_events != self._num_events:
                num_events, progress_s = self._num_events, now_s
            deadline_s = began_s + timeout_s if timeout_s is not None else progress_s + self._stall_s
            if now_s >= deadline_s:
                limit = f"{timeout_s:g} s" if timeout_s is not None else f"{self._stall_s:g} s without a task ending"
                raise DeadlineExceeded(f"{who()}, gave up after {limit}; {self._reason()}")
            if now_s - began_s >= REPORT_EVERY_S:
                logger.info("%s for %.0f s; %s", who(), now_s - began_s, self._reason())
            await self._sleep(is_ready, min(deadline_s - now_s, REPORT_EVERY_S))

    async def _sleep(self, is_ready: Callable[[], bool], timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        waiter = (is_ready, future)
        self._waiting.append(waiter)
        timer = loop.call_later(timeout_s, _release, future)
        try:
            await future
        finally:
            timer.cancel()
            self._waiting.remove(waiter)


def _release(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
