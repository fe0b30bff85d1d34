# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The life of a worker process: make the object, answer calls on the main thread one at a time, end with the controller.

`fork_server` runs it in a forked child. It never returns to the fork server's code, and keeps no state between calls but
the object itself.
"""

from __future__ import annotations

import faulthandler
import importlib
import operator
import os
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

from areal.infra.workers import wire
from areal.utils.errors import InfraError

MAKE, CALL, CLOSE = "make", "call", "close"
"""Requests: `(MAKE, "pkg.mod:factory", args)`, `(CALL, method, args, kwargs)`, `(CLOSE,)`."""
OK, ERROR = "ok", "error"
"""Answers: `(OK, value)`, `(ERROR, exception)`."""


class _Answer:
    """Sends the outcome of the `with` body to the controller, be it `value` or the exception that ended the body."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._doing = "receiving a call"

    def __enter__(self) -> _Answer:
        return self

    def doing(self, what: str) -> None:
        """Name what the body does, for the note on an exception."""
        self._doing = what

    def send(self, value: Any) -> None:
        """Answer with a value; must be the last statement of the body."""
        self._doing += " (sending its result)"
        _send(self._sock, wire.encode((OK, value)))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        if error is None or isinstance(error, (SystemExit, KeyboardInterrupt)):
            return False  # these end the worker, and the controller reports its death
        text = "".join(traceback.format_exception(error)).rstrip()
        error.add_note(f"raised in worker {os.environ['RANK']} (pid {os.getpid()}) while {self._doing}; there:\n{text}")
        _send(self._sock, _encode_error(error, text))
        return True


def _send(sock: socket.socket, frame: wire.Frame) -> None:
    try:
        wire.send(sock, frame)
    except ConnectionError:
        raise SystemExit(0) from None  # the controller is gone: nobody wants the answer


def _encode_error(error: BaseException, text: str) -> wire.Frame:
    """The exception itself where it survives pickling, else an `InfraError` with its text."""
    try:
        frame = wire.encode((ERROR, error))
        wire.decode(frame)  # an exception with its own constructor may pickle but not unpickle
        return frame
    except (pickle.PicklingError, TypeError, AttributeError, ImportError, ValueError) as why:
        return wire.encode((ERROR, InfraError(f"{text}\n(sent as text, since the exception does not pickle: {why})")))


def load_factory(path: str) -> Callable[..., Any]:
    """The callable named `pkg.mod:name`; raises `ValueError` or `ImportError` that name what is missing."""
    module_name, colon, name = path.partition(":")
    if not colon or not name:
        raise ValueError(f"expected a factory as 'package.module:name', got {path!r}")
    module = importlib.import_module(module_name)
    if name not in module.__dict__:
        raise ImportError(f"module {module_name!r} has no {name!r}; a worker's factory must be a module-level name")
    return module.__dict__[name]


def run(sock: socket.socket, log_path: str, num_threads: int) -> None:
    """Answer requests until the controller closes the connection or asks to end."""
    log_fd = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    os.close(log_fd)
    sys.stdout.reconfigure(line_buffering=True)
    faulthandler.enable(file=sys.stderr)
    faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True)
    _after_fork(num_threads)
    worker: Any = None
    while True:
        try:
            frame = wire.receive(sock)
        except (EOFError, ConnectionError):
            return  # the controller is gone
        with _Answer(sock) as answer:
            request = wire.decode(frame)
            if request[0] == CLOSE:
                return
            if request[0] == MAKE:
                _, factory_path, args = request
                answer.doing(f"making the worker by {factory_path}")
                worker = load_factory(factory_path)(*args)
                answer.send(None)
            else:
                _, method, args, kwargs = request
                answer.doing(f"running {method!r}")
                answer.send(operator.methodcaller(method, *args, **kwargs)(worker))


def _after_fork(num_threads: int) -> None:
    """Undo what a fork shares by accident: numpy's global random state, and the thread count of the fork server."""
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(num_threads)
