# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A rank of the check: creates the meshes of each layout and runs the collectives of each axis, writing what it begins and ends.

Its stacks go to a file when the watcher sends SIGUSR1; that works also while it waits inside a collective.
"""

from __future__ import annotations

import datetime
import faulthandler
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.infra.collectives_check.collectives import COLLECTIVES, WrongResult
from areal.infra.collectives_check.layouts import AXES, parse_layout
from areal.utils.process import die_with_parent


@dataclass(frozen=True, kw_only=True)
class RankTask:
    """What one rank is told."""

    rank: int
    num_ranks: int
    backend: str
    layouts: tuple[str, ...]
    folder: str
    timeout_s: float
    rehearse_hang: int | None


def progress_file(folder: str, rank: int) -> Path:
    """Where a rank writes a JSON line for each step that it begins or ends."""
    return Path(folder) / f"rank{rank}.jsonl"


def stack_file(folder: str, rank: int) -> Path:
    """Where a rank's stacks go."""
    return Path(folder) / f"rank{rank}.stacks"


class Journal:
    """Writes the lines."""

    def __init__(self, task: RankTask) -> None:
        self._file = progress_file(task.folder, task.rank).open("a", buffering=1, encoding="utf-8")

    def write(self, **entry: Any) -> None:
        """One line."""
        self._file.write(json.dumps(entry) + "\n")

    @contextmanager
    def step(self, layout: str, axis: str, collective: str, size: int) -> Iterator[None]:
        """A step that begins now and ends with the block; a wrong result ends it too."""
        named = {"layout": layout, "axis": axis, "collective": collective, "size": size}
        self.write(state="begin", **named)
        started = time.monotonic()
        wrong = ""
        try:
            yield
        except WrongResult as error:
            wrong = str(error)
        self.write(state="end", seconds=time.monotonic() - started, wrong=wrong, **named)


def main(task: RankTask) -> None:
    """Run all steps; exceptions other than wrong results end the process with their traceback."""
    die_with_parent(os.getppid())  # the fork server, which ends with the watcher
    with stack_file(task.folder, task.rank).open("w", encoding="utf-8") as stacks:
        faulthandler.register(signal.SIGUSR1, file=stacks, all_threads=True)
        _run(task, Journal(task))


def _run(task: RankTask, journal: Journal) -> None:
    device = "cpu" if task.backend == "gloo" else "cuda"
    if device == "cuda":
        torch.cuda.set_device(task.rank % torch.cuda.device_count())
    os.environ |= {"RANK": str(task.rank), "WORLD_SIZE": str(task.num_ranks), "LOCAL_RANK": str(task.rank)}
    with journal.step("all", "world", "init_process_group", task.num_ranks):
        dist.init_process_group(
            task.backend,
            init_method=f"file://{task.folder}/rendezvous",
            rank=task.rank,
            world_size=task.num_ranks,
            timeout=datetime.timedelta(seconds=10 * task.timeout_s),  # the watcher's deadline comes first
        )
    world = dist.group.WORLD
    assert world is not None
    _axis(task, journal, "all", "world", lambda: world, task.num_ranks, device)
    for layout in task.layouts:
        dims = ArchonParallelDims.of(parse_layout(layout, task.num_ranks), device)
        with journal.step(layout, "all", "create_meshes", task.num_ranks):
            meshes = dims.meshes
        for axis in AXES:
            size = 1 if axis == "world" else meshes.axis(axis).size()
            if size > 1:
                _axis(task, journal, layout, axis, lambda axis=axis, dims=dims: dims.get_group(axis), size, device)
    journal.write(state="finished")
    dist.destroy_process_group()


def _axis(
    task: RankTask,
    journal: Journal,
    layout: str,
    axis: str,
    group_of: Callable[[], dist.ProcessGroup],
    size: int,
    device: str,
) -> None:
    group = group_of()
    for name in AXES[axis]:
        if task.rehearse_hang == task.rank and layout != "all":
            threading.Event().wait()  # this rank never comes; the others show what that looks like
        with journal.step(layout, axis, name, size):
            COLLECTIVES[name](group, device)
            if device == "cuda":
                torch.cuda.synchronize()
