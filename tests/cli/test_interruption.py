# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Signals to a small script of its own process: real signals, no trainer (that is `tests/trainer/test_recovery.py`)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from areal.cli.interruption import Interrupted, Interruption

ROOT = Path(__file__).parents[2]
SCRIPT = """
import signal, sys, threading, time
from areal import run_script
from areal.cli import interruption
from areal.utils.errors import InfraError

def ready():
    print("ready", flush=True)
    time.sleep(60)

def plain(argv):
    try:
        ready()
    finally:
        print("unwound", flush=True)

def breaks(argv):
    try:
        ready()
    finally:
        raise InfraError("a child got the signal as well")

def swallows(argv):
    try:
        ready()
    except KeyboardInterrupt:
        return 0

def slow(argv):
    try:
        ready()
    finally:
        print("unwinding", flush=True)
        time.sleep(0.3)
        print("unwound", flush=True)

def stuck(argv):
    interruption.REPEAT_S = 0.0
    try:
        ready()
    finally:
        print("unwinding", flush=True)
        time.sleep(60)

def leaves_thread(argv):
    thread = threading.Thread(target=time.sleep, args=(60,), name="areal-actor-0")  # the interpreter would wait for it
    thread.start()
    ready()

sys.exit(run_script(globals()[sys.argv[1]]))
"""


def script(tmp_path: Path, function: str, **options: bool) -> subprocess.Popen[str]:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(path), function],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if options.get("ignore_sigint") else None,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("function", ["plain", "breaks", "swallows", "leaves_thread"])
def test_signal_ends_a_script_once_with_one_line_and_its_code(
    tmp_path: Path, function: str, number: signal.Signals, code: int
) -> None:
    process = script(tmp_path, function)

    process.send_signal(number)
    out, err = process.communicate(timeout=20)

    assert err == f"script.py: interrupted by {number.name}\n"
    assert out == ("unwound\n" if function == "plain" else "")
    assert process.returncode == code


def test_signal_repeated_at_once_does_not_disturb_the_end(tmp_path: Path) -> None:
    process = script(tmp_path, "slow")
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "unwinding\n"

    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)

    assert (out, err, process.returncode) == ("unwound\n", "script.py: interrupted by SIGTERM\n", 143)


def test_signal_repeated_later_ends_a_stuck_script_at_once(tmp_path: Path) -> None:
    process = script(tmp_path, "stuck")
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "unwinding\n"

    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=20) == 130
    process.communicate()


def test_ignored_signal_stays_ignored_as_under_nohup(tmp_path: Path) -> None:
    process = script(tmp_path, "plain", ignore_sigint=True)

    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)

    assert err == "script.py: interrupted by SIGTERM\n"


def test_handlers_are_as_before_after_a_block_without_signal() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interruption() as interruption:
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert interruption.number is None


def test_block_in_another_thread_changes_no_handler() -> None:
    seen: list[Callable[..., object] | int | None] = []

    def enter() -> None:
        with Interruption():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]


def test_interrupted_is_a_keyboard_interrupt_so_that_no_handler_of_exceptions_swallows_it() -> None:
    assert issubclass(Interrupted, KeyboardInterrupt) and not issubclass(Interrupted, Exception)
