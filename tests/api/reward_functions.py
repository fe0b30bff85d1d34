# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Well and badly behaved rewards, importable by the worker processes of the tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

_hoard: list[bytearray] = []


def give(value: object) -> object:
    return value


def one(*args: object, **item: object) -> float:
    return 1.0


def length(prompt: str, completions: str, prompt_ids: list, completion_ids: list, **item: object) -> int:
    return len(completions) + len(completion_ids) + len(item)


def pid() -> int:
    return os.getpid()


def torch_is_imported() -> bool:
    return "torch" in sys.modules


def divide_by_zero(x: float) -> float:
    return x / 0


def leave() -> float:
    sys.exit(3)


def loop(marker: str | None = None) -> float:
    if marker:
        Path(marker).write_text(str(os.getpid()))
    while True:
        pass


def loop_in_c() -> float:
    # Catastrophic backtracking holds the interpreter lock: no thread of the process could end it.
    return float(bool(re.match(r"(a+)+$", "a" * 64 + "b")))


def loop_with_child(marker: str) -> float:
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    Path(marker).write_text(f"{os.getpid()} {child.pid}")
    return loop()


def crash(log: str, how: int) -> float:
    with Path(log).open("a") as file:
        file.write("x")
    os.kill(os.getpid(), how)
    time.sleep(10)
    return 0.0


def crash_the_first_time(log: str) -> float:
    if not Path(log).exists():
        crash(log, signal.SIGSEGV)
    return 0.5


def hoard(num_bytes: int) -> int:
    _hoard.append(bytearray(b"x" * num_bytes))
    return os.getpid()


def meet(mine: str, theirs: str) -> float:
    """Returns 1 when another call of this function runs at the same time."""
    Path(mine).touch()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if Path(theirs).exists():
            return 1.0
        time.sleep(0.01)
    return 0.0
