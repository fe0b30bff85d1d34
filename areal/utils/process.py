# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Processes: dying with the parent, killing whole trees, and telling people why a process ended.

Worker groups and the server supervisor use it. It reads `/proc` where there is one and degrades to "unknown" elsewhere;
it never signals a process that the caller did not name, directly or as an ancestor.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_PR_SET_CHILD_SUBREAPER = 36
_TAIL_BYTES = 64 * 1024  # read at most so much of a log's end: enough for 20 long lines

_ADVICE = (
    (r"Address already in use|EADDRINUSE", "a port is taken: use port 0, or end the process that listens there"),
    (
        r"CUDA out of memory|CUDA error: out of memory",
        "the GPU is full: lower batch sizes, or give roles their own GPUs",
    ),
    (r"No space left on device|Errno 28|StorageFull", "the disk is full: free space, or move cluster.fileroot"),
    (r"ModuleNotFoundError|ImportError", "an import failed: install the package into the environment of the process"),
    (r"Permission denied|PermissionError", "a file or device is not accessible to this user"),
)


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when the *thread* that created it ends (Linux; elsewhere nothing happens).

    `parent_pid` is the parent as it was at the creation: if it has ended since, this process ends at once.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def signal_when_parent_ends(number: signal.Signals) -> None:
    """Have the kernel send a signal when the thread that created this process ends (Linux); `os.getppid` tells the rest."""
    _prctl(_PR_SET_PDEATHSIG, number)


def guarded(argv: Sequence[str]) -> list[str]:
    """A command line that runs `argv` such that it dies with the thread that starts it; argv keeps its process id.

    Runs this file as a script, with the standard library only: `argv` may belong to another Python environment.
    """
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *argv]


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends (Linux), so that none can escape."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"prctl({option}, {value}) failed")


def descendants(pid: int) -> list[int]:
    """Ids of all processes below `pid`, nearest first; empty where there is no `/proc`."""
    children = defaultdict(list)
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended while we looked
            # "pid (comm) state ppid ...": comm may itself hold spaces and brackets, hence the split at the last one
            ppid = int(entry.read_text().rpartition(")")[2].split()[1])
            children[ppid].append(int(entry.parent.name))
    found, frontier = [], [pid]
    while frontier:
        frontier = [child for parent in frontier for child in children[parent]]
        found += frontier
    return found


def process_state(pid: int) -> str:
    """The kernel's one-letter state (R running, S sleeping, D disk, T stopped, Z ended); "?" if unknown."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "?"


def rss_bytes(pid: int) -> int:
    """Resident memory of a process in bytes; 0 if unknown."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def kill_tree(pid: int) -> None:
    """SIGKILL a process, its process group if it leads one, and every descendant. Ended ones are ignored."""
    tree = [pid, *descendants(pid)]
    with contextlib.suppress(ProcessLookupError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
    for member in tree:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)


def oom_kills() -> int | None:
    """Times the kernel killed a process of our control group for want of memory; None if it does not tell."""
    for path, key in _oom_counters():
        with contextlib.suppress(OSError):
            for line in path.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == key:
                    return int(count)
    return None


def _oom_counters() -> list[tuple[Path, str]]:
    root, files = Path("/sys/fs/cgroup"), []
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                files.append((root / "memory" / path.lstrip("/") / "memory.oom_control", "oom_kill"))
            elif not controllers:
                files.append((root / path.lstrip("/") / "memory.events", "oom_kill"))
    # inside a container the group's own directory is often mounted as the root
    return [*files, (root / "memory" / "memory.oom_control", "oom_kill"), (root / "memory.events", "oom_kill")]


def describe_exit(returncode: int | None) -> str:
    """Words for a `subprocess` return code: negative is a signal, None is unknown."""
    if returncode is None:
        return "an unknown cause (whoever reaps it ended first)"
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return f"signal {signal.Signals(-returncode).name} ({-returncode})"
    except ValueError:
        return f"signal {-returncode}"


def tail_lines(path: str | Path, num_lines: int = 20, since_byte: int = 0) -> list[str]:
    """The last lines of a text file, looking no further back than `since_byte`; empty if there is no file."""
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(since_byte, size - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-num_lines:]
    except FileNotFoundError:
        return []


def cause_block(what: str, returncode: int | None, log_path: str | Path, oom_kills_before: int | None) -> str:
    """A message of several lines: what ended and how, the likely cause, what to do, and the last log lines."""
    lines = tail_lines(log_path)
    advice = _advice(returncode, "\n".join(lines), oom_kills_before)
    shown = "\n".join(f"    | {line}" for line in lines) or "    | (the log is empty)"
    return (
        f"{what} ended with {describe_exit(returncode)}\n  what to do: {advice}\n  last lines of {log_path}:\n{shown}"
    )


def _advice(returncode: int | None, log_text: str, oom_kills_before: int | None) -> str:
    if returncode == -signal.SIGKILL:
        count = oom_kills()
        if count is not None and oom_kills_before is not None and count > oom_kills_before:
            return "the kernel killed it for want of memory (OOM): lower batch sizes, or give the machine more memory"
        return "someone sent SIGKILL; if nobody did, the machine ran out of memory (see `dmesg`)"
    for pattern, advice in _ADVICE:
        if re.search(pattern, log_text):
            return advice
    if returncode == -signal.SIGTERM:
        return "someone asked it to stop; a job scheduler does so at the end of its time limit"
    return "read the log; its last lines follow"


if __name__ == "__main__":  # see `guarded`
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
