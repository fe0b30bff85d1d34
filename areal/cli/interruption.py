# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C (SIGINT) and a scheduler's SIGTERM end a command the same way: one exception in the main thread, raised once.

The `with` blocks of trainers do the rest: they end processes, write `summary.json`, and remove what is half written. While
they do, a signal that comes again must not tear them apart, unless a person insists. `areal.cli.main` uses it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)
REPEAT_S = 1.0
"""Signals that follow this soon are the same request: `timeout` signals its child and then the child's group."""


class Interrupted(KeyboardInterrupt):
    """A signal asks the command to end; the message is the signal's name."""


class Interruption:
    """Raises `Interrupted` at the first signal inside the block. A later one, by someone who will not wait, exits at once.

    Exiting at once orphans nobody: servers, ranks and reward processes die with their parent. `number` is the signal that
    came, or None. Outside the main thread, which alone may handle signals, and for signals that are ignored (`nohup`), the
    block changes nothing.
    """

    def __init__(self) -> None:
        self.number: signal.Signals | None = None
        self._came_s = 0.0
        self._pid = os.getpid()
        self._handlers_before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._handlers_before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.number is None:  # otherwise the process is about to end, and stays deaf to repeats until it has
            for number, handler in self._handlers_before.items():
                signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """What a shell reports for a command that the signal ended; SIGINT's if none came through this block."""
        return 128 + (self.number or signal.SIGINT)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a fork that did not exec: it ends as it would without us
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self.number is None:
            self.number, self._came_s = signal.Signals(number), time.monotonic()
            raise Interrupted(self.number.name)
        elif time.monotonic() - self._came_s > REPEAT_S:
            os._exit(128 + number)
