# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A worker process: imports functions, calls them one at a time, reports a number or the exception.

Started by `areal.utils.deadline_pool.pool` with a socket. It ends when the socket closes, and the kernel kills it when the
pool's thread ends, even inside a call that never returns. Imports nothing heavy: a function brings what it needs.
"""

from __future__ import annotations

import contextlib
import json
import math
import numbers
import os
import pickle
import resource
import runpy
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from areal.utils.deadline_pool.wire import HEADER, SCORE, Kind, LoadRequest, frame
from areal.utils.process import die_with_parent, rss_bytes

MAX_DATA_BYTES = 8 * 2**30
"""Private memory of one worker: a call that allocates without end gets a MemoryError, not the machine."""
_OOM_SCORE_ADJ = "1000"
"""When memory runs out all the same, the kernel is to take this process, not the trainer."""
_MAX_ERROR_CHARS = 4000


def main(socket_fd: int, parent_pid: int) -> None:
    """Serve requests until the socket closes."""
    die_with_parent(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes the socket
    if sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        soft = MAX_DATA_BYTES if hard == resource.RLIM_INFINITY else min(MAX_DATA_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        with contextlib.suppress(OSError):  # some sandboxes forbid it; the limit above still holds
            Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_ADJ)
    connection = socket.socket(fileno=socket_fd)
    connection.set_inheritable(False)
    connection.sendall(frame(Kind.READY, 0))
    serve(connection.makefile("rb"), connection.sendall)


def serve(requests: BinaryIO, send: Callable[[bytes], object]) -> None:
    """Answer each request; returns at the end of the stream."""
    functions: dict[int, Callable[..., Any]] = {}
    while len(header := requests.read(HEADER.size)) == HEADER.size:
        kind, function_id, length = HEADER.unpack(header)
        payload = requests.read(length)
        attempt = _Attempt()
        if kind == Kind.LOAD:
            with attempt:
                functions[function_id] = _load(pickle.loads(payload))
            answer = frame(Kind.LOADED, function_id)
        else:
            score = math.nan
            with attempt:
                args, kwargs = pickle.loads(payload)
                score = _checked(functions[function_id](*args, **kwargs))
            answer = frame(Kind.SCORED, function_id, SCORE.pack(score, rss_bytes(os.getpid())))
        if attempt.error is not None:
            answer = frame(Kind.FAILED, function_id, json.dumps(describe(attempt.error)).encode())
        send(answer)


class _Attempt:
    """Runs user code: whatever it raises, `SystemExit` included, ends the block and is kept in `error`."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        self.error = error
        return True


def describe(error: BaseException) -> tuple[str, str]:
    """Type and message of an exception, with the traceback below the worker's own frames."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    lines = traceback.format_exception(type(error), error, trace)
    return type(error).__name__, f"{error}\n{''.join(lines)}"[-_MAX_ERROR_CHARS:].strip()


def _load(request: LoadRequest) -> Callable[..., Any]:
    if request.main_path or request.main_module:
        # The script that started the run defines the function: run it as multiprocessing does, its main guard off.
        if request.main_module:
            names = runpy.run_module(request.main_module, run_name="__mp_main__", alter_sys=True)
        else:
            names = runpy.run_path(str(request.main_path), run_name="__mp_main__")
        sys.modules["__main__"].__dict__.update(names)
    return pickle.loads(request.function)


def _checked(value: object) -> float:
    if not isinstance(value, numbers.Real):
        raise TypeError(f"a reward must be a number (bool, int or float), got {type(value).__name__}: {value!r:.100}")
    score = float(value)
    if not math.isfinite(score):
        raise ValueError(f"a reward must be finite, got {score}")
    return score
