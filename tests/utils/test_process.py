# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from areal.utils import process

SLEEPER = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
PARENT_OF_TWO = f"""
import subprocess, sys, time
for new_session in (False, True):
    subprocess.Popen({SLEEPER!r}, start_new_session=new_session)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("returncode", "words"),
    [
        (0, "exit code 0"),
        (3, "exit code 3"),
        (-9, "signal SIGKILL (9)"),
        (-64, "signal SIGRTMAX (64)"),
        (None, "unknown"),
    ],
)
def test_describe_exit_names_code_or_signal(returncode: int | None, words: str) -> None:
    assert words in process.describe_exit(returncode)


def test_kill_tree_reaches_children_in_other_sessions() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT_OF_TWO], stdout=subprocess.PIPE, start_new_session=True)
    assert parent.stdout is not None
    parent.stdout.readline()
    children = process.descendants(parent.pid)

    process.kill_tree(parent.pid)

    assert parent.wait(5) == -signal.SIGKILL
    assert len(children) == 2
    _gone, alive = psutil.wait_procs([psutil.Process(pid) for pid in children if psutil.pid_exists(pid)], timeout=5)
    assert alive == []
    parent.stdout.close()


def test_kill_tree_of_an_ended_process_is_quiet() -> None:
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait(10)

    process.kill_tree(ended.pid)


GUARDED = f"""
import subprocess, time
from areal.utils.process import guarded
print(subprocess.Popen(guarded({SLEEPER!r})).pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("wait_for_exec", [True, False], ids=["after_the_wish", "around_the_wish"])
def test_die_with_parent_ends_the_child_when_its_parent_is_killed(wait_for_exec: bool) -> None:
    parent = subprocess.Popen([sys.executable, "-c", GUARDED], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    while wait_for_exec and child.cmdline() != SLEEPER:
        pass

    parent.kill()

    child.wait(10)
    parent.wait(5)
    parent.stdout.close()


def test_tail_lines_returns_the_last_lines_since_a_byte(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\ntwo\nthree\n")

    assert process.tail_lines(log, 2) == ["two", "three"]
    assert process.tail_lines(log, 9, since_byte=8) == ["three"]
    assert process.tail_lines(tmp_path / "absent") == []


def test_tail_lines_of_a_huge_log_is_bounded(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x" * 1_000_000 + "\nend\n")

    lines = process.tail_lines(log)

    assert lines[-1] == "end"
    assert sum(map(len, lines)) < 100_000


@pytest.mark.parametrize(
    ("text", "returncode", "advice"),
    [
        ("OSError: [Errno 98] Address already in use", 1, "port 0"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried", 1, "GPU is full"),
        ("OSError: [Errno 28] No space left on device", 1, "disk is full"),
        ("ModuleNotFoundError: No module named 'x'", 1, "install the package"),
        ("fine", -9, "memory"),
        ("fine", -15, "asked it to stop"),
        ("something else", 1, "read the log"),
    ],
)
def test_cause_block_advises_by_log_and_signal(tmp_path: Path, text: str, returncode: int, advice: str) -> None:
    log = tmp_path / "server.log"
    log.write_text(text + "\n")

    block = process.cause_block("server 0", returncode, log, process.oom_kills())

    assert block.startswith("server 0 ended with ")
    assert advice in block
    assert text in block


def test_own_state_and_memory_are_readable() -> None:
    assert process.process_state(os.getpid()) in "RS"
    assert process.rss_bytes(os.getpid()) > 1_000_000
