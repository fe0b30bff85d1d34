# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""One run of one inference server: from its command line to its end, with the reason if it ends badly.

Used by the supervisor, from the thread that started it. A server dies with the controller, also when that is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import threading
import time
from pathlib import Path

from areal.infra.launcher.command import ServerCommand, ServerStart
from areal.utils.errors import DeadlineExceeded, InfraError, ServerDead
from areal.utils.process import cause_block, descendants, guarded, kill_tree, oom_kills, process_state, tail_lines

_READY_POLL_S = 0.02  # loading a model takes seconds; the file has no other way to tell
STOP_GRACE_S = 5.0
"""Between SIGTERM and SIGKILL; a server ends its requests within a second."""


class ServerProcess:
    """Starts the command at construction; the log is appended to."""

    def __init__(self, command: ServerCommand, start: ServerStart, log_path: Path) -> None:
        self.start = start
        self.log_path = log_path
        self._oom_kills = oom_kills()
        start.ready_file.unlink(missing_ok=True)
        with log_path.open("ab") as log:
            head = f"--- server {start.index}, version {start.version}, weights {start.weights_path}\n--- "
            log.write((head + shlex.join(command.argv) + "\n").encode())
            log.flush()
            self._process = subprocess.Popen(
                guarded(command.argv),
                stdin=subprocess.PIPE,  # stays open as long as we live: a server may watch for its end
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | dict(command.env),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    def wait_ready(self, deadline_s: float, stop: threading.Event) -> str:
        """Block until the server listens and return its "host:port".

        Raises `ServerDead` if it ends before, `DeadlineExceeded` if it is not ready within `deadline_s` (both with the cause,
        and the server is gone then), `InfraError` if `stop` is set meanwhile.
        """
        give_up_s = time.monotonic() + deadline_s
        while not self.start.ready_file.exists():
            if self._process.poll() is not None:
                self.end()
                raise ServerDead(self.cause("before it was ready"))
            if time.monotonic() > give_up_s:
                state = process_state(self.pid)
                self.end(at_once=True)
                raise DeadlineExceeded(self._not_ready(deadline_s, state))
            if stop.wait(_READY_POLL_S):
                raise InfraError(f"the start of server {self.start.index} was given up, since the supervisor is closed")
        ready = json.loads(self.start.ready_file.read_text())
        host = f"[{ready['host']}]" if ":" in ready["host"] else ready["host"]
        return f"{host}:{ready['port']}"

    def _not_ready(self, deadline_s: float, state: str) -> str:
        lines = "\n".join(f"    | {line}" for line in tail_lines(self.log_path))
        return (
            f"server {self.start.index} (pid {self.pid}, state {state}) did not write {self.start.ready_file} within "
            f"{deadline_s:g} s and was killed\n  what to do: if it was still loading, raise rollout.setup_timeout\n"
            f"  last lines of {self.log_path}:\n{lines}"
        )

    def wait(self) -> int:
        """Block until the server has ended by itself or by `kill`; returns the return code."""
        returncode = self._process.wait()
        self.end()
        return returncode

    def kill(self) -> None:
        """Kill it with all its descendants; whoever is in `wait` learns of it."""
        kill_tree(self.pid)

    def end(self, *, at_once: bool = False) -> None:
        """Ask it to stop, kill it after a grace, and kill what it leaves behind. Idempotent."""
        children = descendants(self.pid) if self._process.poll() is None else []
        if self._process.poll() is None and not at_once:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_GRACE_S)
        if self._process.poll() is None:
            kill_tree(self.pid)
            self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # its group outlives it as long as a member does
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self.start.ready_file.unlink(missing_ok=True)

    def cause(self, when: str) -> str:
        """Why it ended, in several lines."""
        what = f"server {self.start.index} (pid {self.pid}, version {self.start.version}) {when}"
        return cause_block(what, self._process.returncode, self.log_path, self._oom_kills)
