# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A helper process that has imported torch once and forks workers from that state: 0.1 s a worker instead of 3 s.

`ForkServer` (controller side) starts it with exec, so the controller may have threads; the server itself has one thread and
does nothing but fork and reap, so it always sees the controller's end at once. Against `multiprocessing`'s fork server:
it never runs the user's script a second time, it dies with the controller although its children live, and it adopts and
kills whatever its workers leave behind. Chain of death: controller -> (signal, pipe EOF) -> server -> (PDEATHSIG) -> workers.
It must never initialise an accelerator, since forked children could not use it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from areal.infra.workers import wire, worker_main
from areal.utils.errors import InfraError
from areal.utils.process import adopt_orphans, describe_exit, die_with_parent, signal_when_parent_ends

PRELOAD = ("torch", "torch._dynamo", "torch.distributed.checkpoint", "torch.distributed.fsdp", "safetensors.torch")
"""Slow imports that every worker needs. The first optimizer or `fully_shard` imports `torch._dynamo` (2-3 s a rank)."""
_START_DEADLINE_S = 180.0  # importing torch from a cold network disk takes up to a minute
_STATUS = struct.Struct("!q")
_SIZE = struct.Struct("!Q")


@dataclass(frozen=True)
class ForkedProcess:
    """A worker as the controller sees it. `status_fd` becomes readable when it ends; then `read_returncode` tells how."""

    pid: int
    status_fd: int

    def read_returncode(self) -> int | None:
        """How it ended, as `subprocess` encodes it; None if the fork server ended first. Blocks until it has ended."""
        raw = os.read(self.status_fd, _STATUS.size)
        return _STATUS.unpack(raw)[0] if len(raw) == _STATUS.size else None


class ForkServer:
    """Controller side. Thread-safe; one server serves every worker group of a controller."""

    _shared: ForkServer | None = None
    _shared_lock = threading.Lock()

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sock, theirs = socket.socketpair()
        # NVML answers torch.cuda.is_available() without initialising CUDA, which a preloaded module might otherwise do
        env = os.environ | {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
        code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve({theirs.fileno()}, {os.getpid()})"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=[theirs.fileno()],
            env=env,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal is the controller's to handle
        )
        theirs.close()

    @classmethod
    def shared(cls) -> ForkServer:
        """The server of this process, started at first use and again if it has ended."""
        with cls._shared_lock:
            if cls._shared is None or cls._shared._process.poll() is not None:
                cls._shared = ForkServer()
            return cls._shared

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    def spawn(self, sock: socket.socket, *, env: dict[str, str], log_path: Path, num_threads: int) -> ForkedProcess:
        """Fork a worker that answers on `sock` and logs to `log_path`; raises `InfraError` if the server has ended."""
        request = {"env": env, "cwd": str(Path.cwd()), "sys_path": sys.path, "log_path": str(log_path)}
        body = json.dumps(request | {"num_threads": num_threads}).encode()
        status_fd, their_status_fd = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._sock, [_SIZE.pack(len(body))], [sock.fileno(), their_status_fd])
                self._sock.sendall(body)
        except OSError as error:
            os.close(status_fd)
            raise self._gone() from error
        finally:
            os.close(their_status_fd)
        ready, _, _ = select.select([status_fd], [], [], _START_DEADLINE_S)
        raw = os.read(status_fd, _STATUS.size) if ready else b""  # first word: the pid, second: the return code
        if len(raw) != _STATUS.size:
            os.close(status_fd)
            raise self._gone()
        return ForkedProcess(_STATUS.unpack(raw)[0], status_fd)

    def _gone(self) -> InfraError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1.0)
        returncode = self._process.poll()
        state = f"hangs in its imports for {_START_DEADLINE_S:g} s" if returncode is None else describe_exit(returncode)
        return InfraError(
            f"the fork server (pid {self.pid}) could not start a worker: {state}; its error is on stderr above. "
            "Check that torch imports in this environment"
        )


def serve(fd: int, controller_pid: int) -> None:
    """Body of the server process: fork on request, reap, report, clean up; ends when the controller has ended."""
    sock = socket.socket(fileno=fd)
    adopt_orphans()
    wakeup_read, wakeup_write = os.pipe()
    os.set_blocking(wakeup_read, False)
    os.set_blocking(wakeup_write, False)
    for number in (signal.SIGCHLD, signal.SIGUSR1):
        signal.signal(number, lambda *_: None)  # a handler is needed for the wake-up byte to be written
    signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
    # EOF alone would not do: a process that the controller forked (a reward pool) holds the other end of the socket too
    signal_when_parent_ends(signal.SIGUSR1)
    for name in PRELOAD:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # the collector of a child would otherwise touch, hence copy, every inherited page
    status_fds: dict[int, int] = {}
    while os.getppid() == controller_pid:
        readable, _, _ = select.select([sock, wakeup_read], [], [])
        if wakeup_read in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wakeup_read, 4096)
            _reap(status_fds)
        if sock in readable and not _fork_one(sock, (wakeup_read, wakeup_write), status_fds):
            break
    _end_all(status_fds)


def _fork_one(sock: socket.socket, own_fds: tuple[int, int], status_fds: dict[int, int]) -> bool:
    """Serve one request; False when the controller is gone."""
    try:
        head, fds, _, _ = socket.recv_fds(sock, _SIZE.size, 2)
        if not head:
            return False
        head += wire.receive_exactly(sock, _SIZE.size - len(head))
        request = json.loads(wire.receive_exactly(sock, _SIZE.unpack(head)[0]))
    except (EOFError, ConnectionError):
        return False
    worker_fd, status_fd = fds
    server_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        for fd in (sock.fileno(), status_fd, *own_fds, *status_fds.values()):
            os.close(fd)
        _child(server_pid, worker_fd, request)
    os.close(worker_fd)
    status_fds[pid] = status_fd
    with contextlib.suppress(BrokenPipeError):
        os.write(status_fd, _STATUS.pack(pid))
    return True


def _child(server_pid: int, worker_fd: int, request: dict[str, Any]) -> None:
    """Become a worker; never returns."""
    code = 1
    try:
        die_with_parent(server_pid)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        os.environ.clear()
        os.environ.update(request["env"])
        sys.path[:] = request["sys_path"]
        os.chdir(request["cwd"])
        worker_main.run(socket.socket(fileno=worker_fd), request["log_path"], request["num_threads"])
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    finally:
        if (error := sys.exception()) is not None:
            sys.excepthook(type(error), error, error.__traceback__)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # never unwind into the server's stack


def _reap(status_fds: dict[int, int]) -> None:
    """Report every ended worker to the controller, and kill what ended workers left behind."""
    while True:
        try:
            pid, wait_status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            break
        if pid in status_fds:
            status_fd = status_fds.pop(pid)
            with contextlib.suppress(BrokenPipeError):
                os.write(status_fd, _STATUS.pack(os.waitstatus_to_exitcode(wait_status)))
            os.close(status_fd)
    for child in _children():
        if child not in status_fds:  # an orphan of an ended worker, adopted by us; its own children follow the same way
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def _children() -> list[int]:
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def _end_all(status_fds: dict[int, int]) -> None:
    for pid in list(status_fds):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    status_fds.clear()
    with contextlib.suppress(ChildProcessError):
        while True:
            for child in _children():
                os.kill(child, signal.SIGKILL)
            os.waitpid(-1, 0)
