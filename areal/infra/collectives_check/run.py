# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Starts the ranks of the check and watches them: a step that takes too long ends with the stacks of all ranks.

Ranks come from a fork server that has imported torch once. Nothing outlives `check_collectives`, however it ends.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import Any

from areal.utils.process import describe_exit

START_DEADLINE_S = 180.0  # importing torch from a cold network disk takes up to a minute
POLL_S = 0.05
STACK_DEADLINE_S = 3.0


@dataclass(frozen=True)
class StepResult:
    """A collective on an axis of a layout: the slowest rank's seconds, and what was wrong with the result, if anything."""

    layout: str
    axis: str
    collective: str
    size: int
    seconds: float
    wrong: str


@dataclass
class RankState:
    """What a rank did last, and its stacks if they were taken."""

    step: str = "starting"
    since: float = field(default_factory=time.monotonic)
    finished: bool = False
    exit: str = ""
    stack: str = ""


@dataclass
class CheckResult:
    """All steps that every rank ended; `problem` is empty, `hang` or `died`."""

    steps: list[StepResult]
    ranks: list[RankState]
    problem: str = ""
    explanation: str = ""
    is_transport: bool = False  # every rank waits in the same step: nobody is missing, messages do not arrive


class _Watch:
    """Reads the journals of the ranks."""

    def __init__(self, folder: str, num_ranks: int) -> None:
        from areal.infra.collectives_check.rank_main import progress_file

        self.paths = [progress_file(folder, rank) for rank in range(num_ranks)]
        self.offsets = [0] * num_ranks
        self.ranks = [RankState() for _ in range(num_ranks)]
        self.ended: dict[tuple[str, str, str, int], list[dict[str, Any]]] = {}

    def read(self) -> None:
        """Take in what was written since."""
        for rank, path in enumerate(self.paths):
            if not path.exists():
                continue
            with path.open(encoding="utf-8") as file:
                file.seek(self.offsets[rank])
                text = file.read()
            complete = text[: text.rfind("\n") + 1]
            self.offsets[rank] += len(complete.encode())
            for line in complete.splitlines():
                self._take(self.ranks[rank], json.loads(line))

    def _take(self, state: RankState, entry: dict[str, Any]) -> None:
        state.since = time.monotonic()
        if entry["state"] == "finished":
            state.finished, state.step = True, "finished"
            return
        key = (entry["layout"], entry["axis"], entry["collective"], entry["size"])
        name = f"{entry['collective']} along {entry['axis']} of {entry['layout']}"
        state.step = name if entry["state"] == "begin" else f"after {name}"
        if entry["state"] == "end":
            self.ended.setdefault(key, []).append(entry)

    def results(self) -> list[StepResult]:
        """Steps that all ranks ended, in order."""
        complete = [(key, found) for key, found in self.ended.items() if len(found) == len(self.ranks)]
        return [
            StepResult(*key, max(e["seconds"] for e in found), next((e["wrong"] for e in found if e["wrong"]), ""))
            for key, found in complete
        ]


def check_collectives(
    num_ranks: int,
    backend: str,
    layouts: Sequence[str],
    timeout_s: float,
    rehearse_hang: int | None = None,
) -> CheckResult:
    """Run the check; `timeout_s` bounds each step, `rehearse_hang` is a rank that stops before the first layout's meshes."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["areal.infra.collectives_check.rank_main"])
    with tempfile.TemporaryDirectory(prefix="areal-collectives-") as folder:
        processes: list[BaseProcess] = []
        try:
            processes += _start(context, num_ranks, backend, layouts, folder, timeout_s, rehearse_hang)
            return _watch(_Watch(folder, num_ranks), processes, folder, timeout_s)
        finally:
            for process in processes:
                process.kill()
                process.join()


def _start(
    context: Any,
    num_ranks: int,
    backend: str,
    layouts: Sequence[str],
    folder: str,
    timeout_s: float,
    rehearse_hang: int | None,
) -> list[BaseProcess]:
    from areal.infra.collectives_check.rank_main import RankTask, main

    started = []
    for rank in range(num_ranks):
        task = RankTask(
            rank=rank,
            num_ranks=num_ranks,
            backend=backend,
            layouts=tuple(layouts),
            folder=folder,
            timeout_s=timeout_s,
            rehearse_hang=rehearse_hang,
        )
        process = context.Process(target=main, args=(task,), daemon=True)
        process.start()
        started.append(process)
    return started


def _watch(watch: _Watch, processes: list[BaseProcess], folder: str, timeout_s: float) -> CheckResult:
    begun = time.monotonic()
    while True:
        watch.read()
        result = CheckResult(watch.results(), watch.ranks)
        if all(state.finished for state in watch.ranks):
            return result
        if dead := [r for r, p in enumerate(processes) if p.exitcode is not None and not watch.ranks[r].finished]:
            for rank in dead:
                watch.ranks[rank].exit = describe_exit(processes[rank].exitcode)  # type: ignore[arg-type]
            _take_stacks(watch, processes, folder)
            result.problem = "died"
            result.explanation = "; ".join(f"rank {r} {watch.ranks[r].exit} in {watch.ranks[r].step}" for r in dead)
            return result
        now = time.monotonic()
        late = [r for r, s in enumerate(watch.ranks) if not s.finished and now - s.since > _limit(s, timeout_s)]
        if late or now - begun > START_DEADLINE_S + timeout_s * max(1, len(watch.ended) + 1):
            _take_stacks(watch, processes, folder)
            result.problem, result.explanation = "hang", _explain(watch.ranks)
            result.is_transport = len({state.step for state in watch.ranks}) == 1
            return result
        time.sleep(POLL_S)


def _limit(state: RankState, timeout_s: float) -> float:
    return START_DEADLINE_S if state.step == "starting" else timeout_s


def _take_stacks(watch: _Watch, processes: list[BaseProcess], folder: str) -> None:
    from areal.infra.collectives_check.rank_main import stack_file

    for process in processes:
        if process.exitcode is None and process.pid is not None:
            os.kill(process.pid, signal.SIGUSR1)
    deadline = time.monotonic() + STACK_DEADLINE_S
    waiting = [rank for rank, process in enumerate(processes) if process.exitcode is None]
    while waiting and time.monotonic() < deadline:
        waiting = [rank for rank in waiting if not _read(stack_file(folder, rank))]
        time.sleep(POLL_S)
    for rank, state in enumerate(watch.ranks):
        state.stack = _read(stack_file(folder, rank))


def _read(path: Any) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _explain(ranks: list[RankState]) -> str:
    """Who waits for whom: the ranks by the step they are in."""
    places: dict[str, list[int]] = {}
    for rank, state in enumerate(ranks):
        places.setdefault(state.step, []).append(rank)
    told = "; ".join(f"ranks {', '.join(map(str, members))}: {step}" for step, members in places.items())
    if len(places) == 1:
        return f"{told}. All ranks are in the same step, so messages do not arrive: look at the network between them"
    return f"{told}. Ranks that are elsewhere never entered the collective that the others wait in"
