# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""One worker process as the pool sees it: its state, its call and its deadline.

    STARTING -READY-> IDLE -LOAD-> LOADING -LOADED-> RUNNING -SCORED or FAILED-> IDLE
                      IDLE -CALL (function known)-> RUNNING          any state -> DEAD

Everything happens in callbacks of the event loop. It knows the pool only as three callbacks.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from areal.utils.deadline_pool.wire import HEADER, SCORE, Kind, frame
from areal.utils.errors import UserCodeError
from areal.utils.logging import getLogger
from areal.utils.process import kill_tree

logger = getLogger("deadline_pool")

START_DEADLINE_S = 60.0
"""A bare interpreter starts in 0.1 s; on a loaded machine it may need much longer."""
LOAD_DEADLINE_S = 120.0
"""Importing the function's module, perhaps with torch, on a loaded machine."""
_EXIT_WAIT_S = 0.5
"""A process that has closed its socket by ending can be reaped at once; one that only closed it is killed after this."""


class WorkerState(Enum):
    """See the module's docstring."""

    STARTING = "starting"
    IDLE = "idle"
    LOADING = "loading"
    RUNNING = "running"
    DEAD = "dead"


_ALLOWED = {
    WorkerState.STARTING: {WorkerState.IDLE, WorkerState.DEAD},
    WorkerState.IDLE: {WorkerState.LOADING, WorkerState.RUNNING, WorkerState.DEAD},
    WorkerState.LOADING: {WorkerState.RUNNING, WorkerState.IDLE, WorkerState.DEAD},
    WorkerState.RUNNING: {WorkerState.IDLE, WorkerState.DEAD},
    WorkerState.DEAD: set(),
}


@dataclass(frozen=True)
class PoolFunction:
    """A function as workers get it. `id` is unique in this process; `where` names it in errors."""

    id: int
    where: str
    load_request: bytes


@dataclass
class Call:
    """One call: the pickled `(args, kwargs)`, its deadline, and the future that takes its result."""

    function: PoolFunction
    payload: bytes
    timeout_s: float
    retries_left: int
    future: asyncio.Future[float]

    def fail(self, error: Exception) -> None:
        """Give the caller an error, unless the caller has gone."""
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(frozen=True)
class WorkerEvents:
    """What the pool wants to hear: ready for a call; dead for any reason; ended by itself (after `dead`)."""

    idle: Callable[[WorkerHandle], None]
    dead: Callable[[WorkerHandle], None]
    ended: Callable[[WorkerState, Call | None, int | None], None]


class WorkerHandle(asyncio.Protocol):
    """A process and our end of its socket. Raises `OSError` when the process cannot be created."""

    def __init__(self, events: WorkerEvents) -> None:
        self.state = WorkerState.STARTING
        self.call: Call | None = None
        self.num_calls = 0
        self.rss_bytes = 0
        self.reaped: asyncio.Future[int] | None = None
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._loaded: set[int] = set()
        self._received = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self.process = _spawn(theirs.fileno())
            except OSError:
                ours.close()
                raise
        self._socket = ours
        self._connecting = self._loop.create_task(self._loop.create_unix_connection(lambda: self, sock=ours))
        self._deadline = self._loop.call_later(START_DEADLINE_S, self._start_expired)

    def begin(self, call: Call) -> None:
        """Run a call on this idle worker, after loading its function if this is the first time."""
        self.call = call
        if call.function.id in self._loaded:
            self._run(call)
        else:
            self._enter(WorkerState.LOADING, LOAD_DEADLINE_S)
            self._send(frame(Kind.LOAD, call.function.id, call.function.load_request))

    def kill(self) -> None:
        """End the process with all its children and report `dead`; `reaped` is done when the system has let it go."""
        if self.state is WorkerState.DEAD:
            return
        self._enter(WorkerState.DEAD, None)
        kill_tree(self.process.pid)
        # A process with much memory takes a while to go: a thread waits for it, not the loop.
        self.reaped = self._loop.run_in_executor(None, self.process.wait)
        if self._transport is not None:
            self._transport.abort()
        else:
            self._connecting.cancel()
            self._socket.close()
        self._events.dead(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Part of `asyncio.Protocol`: acts on each complete frame."""
        self._received += data
        while len(self._received) >= HEADER.size and self.state is not WorkerState.DEAD:
            kind, function_id, length = HEADER.unpack_from(self._received)
            end = HEADER.size + length
            if len(self._received) < end:
                return
            payload = bytes(self._received[HEADER.size : end])
            del self._received[:end]
            self._answered(Kind(kind), function_id, payload)

    def connection_lost(self, error: Exception | None) -> None:
        """Part of `asyncio.Protocol`: the process ended by itself, unless `kill` closed the connection."""
        if self.state is WorkerState.DEAD:
            return
        state, call = self.state, self.call
        try:
            returncode = self.process.wait(timeout=_EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            logger.warning("worker %d closed its connection without ending; killing it", self.process.pid)
            returncode = None
        self.kill()
        self._events.ended(state, call, returncode)

    def _answered(self, kind: Kind, function_id: int, payload: bytes) -> None:
        call = self.call
        if kind is Kind.LOADED:
            assert call is not None
            self._loaded.add(function_id)
            self._run(call)
            return
        if call is not None:  # READY belongs to no call
            self.num_calls += 1
            if kind is Kind.SCORED:
                score, self.rss_bytes = SCORE.unpack(payload)
                if not call.future.done():
                    call.future.set_result(score)
            else:
                cause_type, cause_text = json.loads(payload)
                call.fail(UserCodeError(call.function.where, cause_type, cause_text))
        self.call = None
        self._enter(WorkerState.IDLE, None)
        self._events.idle(self)

    def _run(self, call: Call) -> None:
        self._enter(WorkerState.RUNNING, call.timeout_s)
        self._send(frame(Kind.CALL, call.function.id, call.payload))

    def _send(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def _enter(self, state: WorkerState, deadline_s: float | None) -> None:
        assert state in _ALLOWED[self.state], f"{self.state} -> {state}"
        self.state = state
        self._deadline.cancel()
        if deadline_s is not None:
            self._deadline = self._loop.call_later(deadline_s, self._expired)

    def _expired(self) -> None:
        """The function was loading or running for too long: its own fault."""
        call = self.call
        assert call is not None
        if self.state is WorkerState.LOADING:
            what, seconds = "its import did not end", LOAD_DEADLINE_S
        else:
            what, seconds = "it did not return", call.timeout_s
        text = f"{what} within {seconds:g} s, so its process was killed; make it faster or raise timeout_seconds"
        call.fail(UserCodeError(call.function.where, "TimeoutError", text))
        self.kill()

    def _start_expired(self) -> None:
        self.kill()
        self._events.ended(WorkerState.STARTING, None, None)


def _spawn(socket_fd: int) -> subprocess.Popen[bytes]:
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        f"from areal.utils.deadline_pool.worker import main; main({socket_fd}, {os.getpid()})"
    )
    environment = dict(os.environ)
    environment.setdefault("OMP_NUM_THREADS", "1")
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code],  # -u: what a killed function printed is not lost
        stdin=subprocess.DEVNULL,
        pass_fds=[socket_fd],
        env=environment,
        start_new_session=True,
    )
