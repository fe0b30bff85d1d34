# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps N inference servers running. The trainer starts it and asks `check()` once a step; the rollout client listens.

One thread a server runs this machine; it also is the thread whose end would end the server (PDEATHSIG).

    STARTING -> READY -> LOST -> STARTING ...     a server that ends is started again with the latest weights
    any -> FAILED     its first start failed, or the restart budget is spent
    any -> CLOSED

It never talks to a server; whether a restarted one has the newest version is for the listener to see to.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol, Self

from areal.infra.launcher.command import CommandBuilder, ServerStart
from areal.infra.launcher.server_process import ServerProcess
from areal.utils.errors import InfraError, ServerDead
from areal.utils.logging import getLogger
from areal.utils.process import rss_bytes

logger = getLogger("servers")

BUDGET_WINDOW_S = 3600.0
"""Restarts older than this are forgotten: a week-long run may lose a server a day."""


class ServerState(Enum):
    """See the module docstring."""

    STARTING = "starting"
    READY = "ready"
    LOST = "lost"
    FAILED = "failed"
    CLOSED = "closed"


_ALLOWED = {
    ServerState.STARTING: {ServerState.READY, ServerState.LOST, ServerState.FAILED, ServerState.CLOSED},
    ServerState.READY: {ServerState.LOST, ServerState.FAILED, ServerState.CLOSED},
    ServerState.LOST: {ServerState.STARTING, ServerState.FAILED, ServerState.CLOSED},
    ServerState.FAILED: set(),
    ServerState.CLOSED: set(),
}


class ServerListener(Protocol):
    """Told about changes, from the supervisor's threads; must not block for long."""

    def lost(self, address: str, cause: str) -> None:
        """The server at `address` has ended: send it nothing more."""
        ...

    def restored(self, old_address: str, new_address: str, version: int) -> None:
        """A server that replaces the one at `old_address` listens at `new_address` with weights `version`.

        Bring it to the present version before using it; raise `InfraError` if that fails, and it is restarted.
        """
        ...

    def given_up(self, failure: InfraError) -> None:
        """A server that was lost is not restarted any more: the run cannot go on as configured."""
        ...


@dataclass(eq=False)
class _Server:
    """What is known of one server; changed by its own thread under the supervisor's condition."""

    index: int
    state: ServerState = ServerState.STARTING
    process: ServerProcess | None = None
    address: str = ""
    kill_reason: str = ""
    failure: InfraError | None = None
    restarts_s: deque[float] = field(default_factory=deque)
    thread: threading.Thread | None = None


class ServerSupervisor:
    """Starts `num_servers` servers with `build_command` and keeps them running until `close`.

    `latest_weights()` gives (path, version) for every start. Logs and ready files go to `log_dir` (`RUN_DIR/servers`).
    A server may be restarted `max_restarts` times within an hour, `restart_delay_s` after its end.
    """

    def __init__(
        self,
        build_command: CommandBuilder,
        num_servers: int,
        *,
        latest_weights: Callable[[], tuple[str, int]],
        log_dir: str | Path,
        listener: ServerListener | None = None,
        start_deadline_s: float = 300.0,
        max_restarts: int = 3,
        restart_delay_s: float = 1.0,
    ) -> None:
        if num_servers < 1:
            raise ValueError(f"expected at least one server, got {num_servers}")
        self._build_command = build_command
        self._latest_weights = latest_weights
        self._log_dir = Path(log_dir)
        self._listener = listener
        self._start_deadline_s = start_deadline_s
        self._max_restarts = max_restarts
        self._restart_delay_s = restart_delay_s
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._servers = [_Server(index) for index in range(num_servers)]

    def start(self) -> list[str]:
        """Start all servers and block until they listen; returns their "host:port".

        Raises `ServerDead` or `DeadlineExceeded`, with the cause, if one does not come up; all are stopped then.
        """
        self._log_dir.mkdir(parents=True, exist_ok=True)
        atexit.register(self.close)
        for server in self._servers:
            name = f"areal-server-{server.index}"
            server.thread = threading.Thread(target=self._keep, args=(server,), name=name, daemon=True)
            server.thread.start()
        with self._changed:
            # every start has a deadline of its own, so this wait needs none
            self._changed.wait_for(
                lambda: all(s.state is not ServerState.STARTING for s in self._servers) or self._failed()
            )
            failure = self._failed()
        if failure is not None:
            self.close()
            raise failure
        return self.addresses()

    def addresses(self) -> list[str]:
        """The address of every server, by index; of one that is being restarted, the former address."""
        with self._changed:
            return [server.address for server in self._servers]

    def states(self) -> list[ServerState]:
        """The state of every server, by index."""
        with self._changed:
            return [server.state for server in self._servers]

    def rss_bytes(self) -> int:
        """Resident memory of all servers together."""
        with self._changed:
            processes = [server.process for server in self._servers if server.process is not None]
        return sum(rss_bytes(process.pid) for process in processes)

    def check(self) -> None:
        """Raise the `ServerDead` of a server whose restart budget is spent; the run cannot go on as configured."""
        with self._changed:
            failure = self._failed()
        if failure is not None:
            raise failure

    def restart(self, address: str, reason: str) -> None:
        """Kill a server that misbehaves (hangs, refuses weights); it is then restarted as if it had died."""
        with self._changed:
            for server in self._servers:
                if server.address == address and server.state is ServerState.READY and server.process is not None:
                    server.kill_reason = reason
                    server.process.kill()
                    return
        logger.warning("asked to restart the server at %s (%s), but none runs there", address, reason)

    def set_listener(self, listener: ServerListener) -> None:
        """Tell `listener` from now on; for a client that needs the addresses before it can listen."""
        self._listener = listener

    def close(self) -> None:
        """Stop all servers and their descendants. Idempotent."""
        atexit.unregister(self.close)
        with self._changed:  # a server becomes ready before this, and is ended here, or never
            self._stop.set()
            running = [s.process for s in self._servers if s.process is not None and s.state is ServerState.READY]
        enders = [threading.Thread(target=process.end) for process in running]
        for ender in enders:
            ender.start()
        for server in self._servers:
            if server.thread is not None and server.thread is not threading.current_thread():
                server.thread.join()
        for ender in enders:
            ender.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _failed(self) -> InfraError | None:
        return next((server.failure for server in self._servers if server.failure is not None), None)

    # ------------------------------------------------------------------------------------------- one thread a server

    def _keep(self, server: _Server) -> None:
        """Run one server until the supervisor is closed or its budget is spent."""
        try:
            self._run_once(server, old_address=None)
            while server.failure is None and not self._stop.wait(self._restart_delay_s):
                self._move(server, ServerState.STARTING)
                self._run_once(server, old_address=server.address)
        finally:
            if server.process is not None:
                server.process.end()
            if not self._stop.is_set() and server.failure is None:
                server.failure = ServerDead(f"nobody looks after server {server.index} any more: {sys.exception()!r}")
            self._move(server, ServerState.FAILED if server.failure is not None else ServerState.CLOSED)
            if server.failure is not None and self._listener is not None:
                self._listener.given_up(server.failure)

    def _run_once(self, server: _Server, old_address: str | None) -> None:
        """Start a server and wait for its end; ends in LOST, or with `server.failure` set if the server is given up."""
        path, version = self._latest_weights()
        start = ServerStart(
            index=server.index,
            weights_path=path,
            version=version,
            ready_file=self._log_dir / f"server-{server.index}.ready",
        )
        log_path = self._log_dir / f"server-{server.index}.log"
        try:
            server.process = process = ServerProcess(self._build_command(start), start, log_path)
            address = process.wait_ready(self._start_deadline_s, self._stop)
            self._move_to_ready(server, address)
            if old_address is not None:
                logger.info("server %d is back at %s with version %d", server.index, address, version)
                if self._listener is not None:
                    self._listener.restored(old_address, address, version)
        except InfraError as error:
            if server.process is not None:
                server.process.end()
            if old_address is None:
                server.failure = error
            elif not self._stop.is_set():
                self._lose(server, str(error))
            return
        process.wait()
        if not self._stop.is_set():
            why, server.kill_reason = server.kill_reason, ""
            self._lose(server, process.cause(f"was killed, since {why}, and" if why else "served, then"))

    def _lose(self, server: _Server, cause: str) -> None:
        logger.error("%s", cause)
        was_ready = server.state is ServerState.READY
        self._move(server, ServerState.LOST)
        if was_ready and self._listener is not None:
            self._listener.lost(server.address, cause)
        server.restarts_s.append(time.monotonic())
        while server.restarts_s[0] < time.monotonic() - BUDGET_WINDOW_S:
            server.restarts_s.popleft()
        if len(server.restarts_s) > self._max_restarts:
            server.failure = ServerDead(
                f"server {server.index} ended {len(server.restarts_s)} times within {BUDGET_WINDOW_S / 60:g} minutes, so it is "
                f"not restarted again (max_restarts={self._max_restarts}). The last time: {cause}"
            )

    def _move_to_ready(self, server: _Server, address: str) -> None:
        with self._changed:
            if self._stop.is_set():
                raise InfraError(f"server {server.index} was ready, but the supervisor is closed")
            self._move(server, ServerState.READY, address)

    def _move(self, server: _Server, state: ServerState, address: str | None = None) -> None:
        with self._changed:
            assert state in _ALLOWED[server.state], f"server {server.index}: {server.state} -> {state}"
            server.state = state
            if address is not None:
                server.address = address
            self._changed.notify_all()
