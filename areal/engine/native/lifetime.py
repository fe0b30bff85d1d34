# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A server process that ends with its parent, and the file that tells the parent where it listens.

Called by `server` at start-up.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_POLL_S = 0.5
EXIT_ORPHANED = 5


def end_with_parent() -> None:
    """Leave as soon as the process that started this one is gone, however it went. Call from the main thread.

    Linux tells at once, but also when merely the *thread* that started us ends; so its signal only makes us look whether
    we have another parent now. A thread looks twice a second for systems without that signal.
    """
    parent = os.getppid()

    def leave_if_orphaned(*_: object) -> None:
        if os.getppid() != parent:
            os._exit(EXIT_ORPHANED)

    def watch() -> None:
        while True:
            leave_if_orphaned()
            time.sleep(_POLL_S)

    if sys.platform == "linux":
        signal.signal(signal.SIGUSR1, leave_if_orphaned)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)
    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def write_ready_file(path: Path, host: str, port: int) -> None:
    """Say where the server listens: `{"host", "port", "pid"}`, appearing whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(json.dumps({"host": host, "port": port, "pid": os.getpid()}), encoding="utf-8")
    part.replace(path)
