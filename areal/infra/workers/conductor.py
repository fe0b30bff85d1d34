# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The thread that talks to the processes of one worker group. `ProcessWorkers` owns it; it knows nothing of its owner.

It alone touches sockets, queues and the state of calls, so there are no locks but the one around the inbox. A call moves
queued -> running -> answered on each of its ranks and settles once; the group moves

    open -> broken   a worker ended, a deadline passed, or a rank failed and left its peers hanging
    open, broken -> closed

A broken group answers every call with the error that broke it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from areal.infra.workers import wire
from areal.infra.workers.fork_server import ForkedProcess
from areal.infra.workers.worker_main import CLOSE, ERROR
from areal.utils.errors import DeadlineExceeded, InfraError, WorkerDied
from areal.utils.logging import getLogger
from areal.utils.process import cause_block, oom_kills, process_state, tail_lines

logger = getLogger("workers")

PEER_GRACE_S = 20.0
"""After one rank raised, so long may the others take to answer before they count as stuck in a collective with it."""
_CLOSE_GRACE_S = 3.0  # idle workers end within milliseconds; longer means a destructor hangs
_STALL_S = 60.0  # a peer that moves no byte for so long in the middle of a message is stopped
_STACK_DUMP_S = 1.0  # faulthandler answers within milliseconds unless the process is stopped
_STACK_LINES = 60


class GroupState(Enum):
    """See the module docstring."""

    OPEN = "open"
    BROKEN = "broken"
    CLOSED = "closed"


class GroupCall:
    """One method on some ranks. `future` settles with the answers in rank order (or with the one answer of `single`)."""

    def __init__(
        self, method: str, frames: Mapping[int, wire.Frame], deadline_s: float, *, single: bool = False
    ) -> None:
        self.method = method
        self.frames = dict(frames)
        self.deadline_s = deadline_s
        self.single = single
        self.future: Future[Any] = Future()
        self.future.set_running_or_notify_cancel()  # a call that a worker may have started cannot be cancelled
        self.pending = set(frames)
        self.answers: dict[int, Any] = {}
        self.first_error: BaseException | None = None
        self.expires_s: float | None = None
        """`time.monotonic()` at which the call has failed; None until its first rank starts it."""

    def settle(self, error: BaseException | None = None) -> None:
        """Resolve the future, once."""
        self.pending.clear()
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
            return
        answers = [self.answers[rank] for rank in sorted(self.answers)]
        self.future.set_result(answers[0] if self.single else answers)


@dataclass(eq=False)
class RemoteWorker:
    """A worker process as its conductor sees it."""

    rank: int
    process: ForkedProcess
    sock: socket.socket
    log_path: Path
    queue: deque[GroupCall] = field(default_factory=deque)
    current: GroupCall | None = None
    started_s: float = 0.0
    ended: bool = False


class Conductor:
    """Runs the calls of one group; `submit` and `close` may be called from any thread."""

    def __init__(self, name: str, workers: list[RemoteWorker]) -> None:
        self.workers = workers
        self._name = name
        self._inbox: deque[GroupCall] = deque()
        self._lock = threading.Lock()
        self._state = GroupState.OPEN
        self._failure: InfraError | None = None
        self._calls: set[GroupCall] = set()
        self._oom_kills = oom_kills()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, lambda: os.read(self._wake_read, 4096))
        for worker in workers:
            worker.sock.settimeout(_STALL_S)
            self._selector.register(worker.sock, selectors.EVENT_READ, lambda w=worker: self._on_answer(w))
            self._selector.register(worker.process.status_fd, selectors.EVENT_READ, lambda w=worker: self._on_end(w))
        self._thread = threading.Thread(target=self._run, name=f"areal-{name}-conductor", daemon=True)
        self._thread.start()

    def submit(self, call: GroupCall) -> None:
        """Queue a call; its future settles with the group's error if the group is broken or closed."""
        with self._lock:
            failure = self._failure
            if failure is None:
                self._inbox.append(call)
                self._wake()
        if failure is not None:
            call.settle(_fresh(failure))

    def close(self) -> None:
        """End all workers. Blocks until the last one is gone."""
        with self._lock:
            self._failure = self._failure or InfraError(f"worker group {self._name!r} is closed")
            if self._state is not GroupState.CLOSED:
                self._state = GroupState.CLOSED
                self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"x")
        except BlockingIOError:
            return  # 64 KiB of wake-ups are waiting already

    # ------------------------------------------------------------------------------------------- the conductor's thread

    def _run(self) -> None:
        try:
            while self._state is not GroupState.CLOSED:
                self._poll(self._next_expiry_s())
                self._take_inbox()
                for worker in self.workers:
                    self._start_next(worker)
                for call in [c for c in self._calls if c.expires_s is not None and c.expires_s <= time.monotonic()]:
                    self._expire(call)
        finally:
            self._shut_down()

    def _poll(self, timeout_s: float | None) -> None:
        status_fds = {worker.process.status_fd for worker in self.workers}
        # an answer that came just before the worker ended is still an answer
        for key, _ in sorted(self._selector.select(timeout_s), key=lambda event: event[0].fd in status_fds):
            key.data()

    def _next_expiry_s(self) -> float | None:
        expiries = [call.expires_s for call in self._calls if call.expires_s is not None]
        return max(0.0, min(expiries) - time.monotonic()) if expiries else None

    def _take_inbox(self) -> None:
        while self._inbox:
            call = self._inbox.popleft()
            if self._failure is not None:
                call.settle(_fresh(self._failure))
                continue
            self._calls.add(call)
            for rank in call.frames:
                self.workers[rank].queue.append(call)

    def _start_next(self, worker: RemoteWorker) -> None:
        while worker.current is None and worker.queue and not worker.ended:
            call = worker.queue.popleft()
            if call.future.done():
                continue
            if call.expires_s is None:
                call.expires_s = time.monotonic() + call.deadline_s
            worker.current, worker.started_s = call, time.monotonic()
            try:
                wire.send(worker.sock, call.frames.pop(worker.rank))
            except TimeoutError:
                self._break(self._stalled(worker))
            except OSError:
                return  # it is ending: its return code arrives next

    def _on_answer(self, worker: RemoteWorker) -> None:
        try:
            kind, value = wire.decode(wire.receive(worker.sock))
        except TimeoutError:
            self._break(self._stalled(worker))
            return
        except (EOFError, ConnectionError):
            self._selector.unregister(worker.sock)  # it is ending: its return code arrives next
            return
        call, worker.current = worker.current, None
        if call is None or call.future.done():
            return
        call.pending.discard(worker.rank)
        if kind == ERROR and call.first_error is None:
            call.first_error = value
            call.expires_s = min(call.expires_s or 0.0, time.monotonic() + PEER_GRACE_S)
        call.answers[worker.rank] = value
        if not call.pending:
            self._calls.discard(call)
            call.settle(call.first_error)

    def _on_end(self, worker: RemoteWorker) -> None:
        self._selector.unregister(worker.process.status_fd)
        worker.ended = True
        returncode = worker.process.read_returncode()
        if self._state is GroupState.OPEN:
            call = worker.current
            doing = f"running {call.method!r} for {time.monotonic() - worker.started_s:.1f} s" if call else "idle"
            what = f"worker {self._name}-{worker.rank} (pid {worker.process.pid}), {doing},"
            self._break(WorkerDied(cause_block(what, returncode, worker.log_path, self._oom_kills)))

    def _stalled(self, worker: RemoteWorker) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"worker {self._name}-{worker.rank} (pid {worker.process.pid}, state {process_state(worker.process.pid)}) moved no "
            f"byte of a message for {_STALL_S:g} s; is it stopped by a debugger?"
        )

    def _expire(self, call: GroupCall) -> None:
        waiting = sorted(call.pending)
        stacks = "\n".join(self._where_is(self.workers[rank], call) for rank in waiting)
        if call.first_error is not None:
            call.first_error.add_note(
                f"ranks {waiting} did not answer within {PEER_GRACE_S:g} s after this error, so the group is stopped:\n{stacks}"
            )
            call.settle(call.first_error)
        self._break(
            DeadlineExceeded(
                f"{len(waiting)} of {len(self.workers)} workers of {self._name!r} (ranks {waiting}) have not answered "
                f"{call.method!r} within {call.deadline_s:g} s; the group is stopped\n{stacks}"
            )
        )

    def _where_is(self, worker: RemoteWorker, call: GroupCall) -> str:
        """What a worker does instead of answering, with its Python stack."""
        pid = worker.process.pid
        head = f"  rank {worker.rank} (pid {pid}, state {process_state(pid)}, log {worker.log_path})"
        if worker.current is not call:
            busy = worker.current.method if worker.current else "nothing"
            return f"{head} has not started it; it runs {busy!r}"
        size = worker.log_path.stat().st_size
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR1)  # faulthandler writes all stacks to the log
        give_up_s = time.monotonic() + _STACK_DUMP_S
        while worker.log_path.stat().st_size == size and time.monotonic() < give_up_s:
            time.sleep(0.01)
        time.sleep(0.05)  # a dump is several writes
        stack = tail_lines(worker.log_path, _STACK_LINES, since_byte=size) or ["(no stack: the process is stopped)"]
        lines = "\n".join(f"    | {line}" for line in stack)
        return f"{head} has run it for {time.monotonic() - worker.started_s:.1f} s:\n{lines}"

    def _break(self, error: InfraError) -> None:
        """Fail every pending call and refuse new ones."""
        with self._lock:
            if self._failure is None:
                logger.error("%s", error)
                self._failure = error
                self._state = GroupState.BROKEN
        self._fail_pending(error)

    def _fail_pending(self, error: InfraError) -> None:
        self._take_inbox()
        for worker in self.workers:
            worker.queue.clear()
        for call in self._calls:
            call.settle(_fresh(error))
        self._calls.clear()

    def _shut_down(self) -> None:
        """Ask idle workers to end, kill the others, and wait for all; the fork server kills what they leave behind."""
        self._state = GroupState.CLOSED
        self._fail_pending(self._failure or InfraError(f"worker group {self._name!r} is closed"))
        deadline_s = time.monotonic() + _CLOSE_GRACE_S
        for worker in self.workers:
            if worker.current is None and not worker.ended:
                try:
                    wire.send(worker.sock, wire.encode((CLOSE,)))
                except OSError as error:
                    logger.debug("worker %s-%d ended before it was asked to: %s", self._name, worker.rank, error)
            else:
                self._kill(worker)
        while alive := [worker for worker in self.workers if not worker.ended]:
            remaining_s = deadline_s - time.monotonic()
            if remaining_s <= 0:
                for worker in alive:
                    self._kill(worker)
            self._poll(max(0.1, remaining_s))
        self._selector.close()
        for worker in self.workers:
            worker.sock.close()
            os.close(worker.process.status_fd)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _kill(self, worker: RemoteWorker) -> None:
        if not worker.ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.process.pid, signal.SIGKILL)


def _fresh(error: InfraError) -> InfraError:
    """A new exception of the same text: one instance raised in many places would collect all their tracebacks."""
    return type(error)(*error.args)
