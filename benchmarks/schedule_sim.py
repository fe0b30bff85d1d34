# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""How close the rollout schedule comes to the ideal step time max(generation, training), on virtual time.

Generation takes lognormal seconds with a median of 1 s and sigma 0.8 (mean 1.38, p99 6.4), cut at `limit_s` as a length
limit cuts it; `concurrency` prompts are generated at once; training a batch of 32 takes `train_s`. The ideal step is
max(batch * mean / concurrency, train_s). Nothing is dropped and no token is older than eta, so a sample that takes limit_s
holds eta + 1 steps to at least limit_s together: limit_s / (eta + 1) is printed as the straggler floor of a step.
Run: `python benchmarks/schedule_sim.py`. One JSON line per row.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from areal.api.io_struct import Outcome
from areal.infra.consumption import EpisodeResult, SampleSource
from areal.infra.rollout_core import RolloutCore
from areal.infra.staleness_manager import StalenessManager
from tests.fakes import FakeStream, FakeVersion
from tests.virtual_clock import run_virtually

BATCH_SIZE = 32
MEDIAN_S, SIGMA = 1.0, 0.8
TRAJECTORY: dict[str, Any] = {}  # nobody looks inside


@dataclass(frozen=True)
class Schedule:
    """Seconds per step after warm-up, and what bounds them."""

    step_s: float
    ideal_s: float
    max_lag: int

    @property
    def efficiency(self) -> float:
        return self.ideal_s / self.step_s


def simulate(
    eta: int, concurrency: int, train_s: float, limit_s: float, num_steps: int = 200, seed: int = 0
) -> Schedule:
    """Train `num_steps` batches after eta + 2 of warm-up; every batch publishes the next version."""
    rng = random.Random(seed)
    version = FakeVersion()
    durations: list[float] = []
    max_lag = 0

    async def episode(task_id: int, data: dict[str, Any]) -> EpisodeResult:
        durations.append(min(limit_s, MEDIAN_S * rng.lognormvariate(0.0, SIGMA)))
        await asyncio.sleep(durations[-1])
        return EpisodeResult(Outcome.SCORED, TRAJECTORY)

    async def scenario() -> float:
        nonlocal max_lag
        core = RolloutCore(StalenessManager(version, concurrency, BATCH_SIZE, eta), 3)
        source = SampleSource(FakeStream(BATCH_SIZE), episode, is_dynamic=False)
        loop = asyncio.get_running_loop()
        for step in range(num_steps + eta + 2):
            if step == eta + 2:
                began_s = loop.time()
            batch = await core.next_batch(source, BATCH_SIZE)
            max_lag = max(max_lag, *(batch.version - task.version for task in batch.tasks))
            await asyncio.sleep(train_s)
            version.version += 1
            core.notify()
        ended_s = loop.time()
        await core.close()
        return (ended_s - began_s) / num_steps

    step_s = run_virtually(scenario())
    mean_s = sum(durations) / len(durations)
    return Schedule(step_s, max(BATCH_SIZE * mean_s / concurrency, train_s), max_lag)


def main() -> None:
    cases = [(32, 3.0, 8.0), (32, 1.4, 5.0), (32, 0.7, 5.0), (64, 1.4, 5.0), (32, 1.4, 8.0), (64, 0.7, 8.0)]
    for concurrency, train_s, limit_s in cases:
        for eta in (0, 1, 2, 4, 8):
            schedule = simulate(eta, concurrency, train_s, limit_s)
            row = {
                "concurrency": concurrency,
                "train_s": train_s,
                "limit_s": limit_s,
                "floor_s": round(limit_s / (eta + 1), 3),
                "eta": eta,
                "step_s": round(schedule.step_s, 3),
                "ideal_s": round(schedule.ideal_s, 3),
                "efficiency": round(schedule.efficiency, 3),
                "max_lag": schedule.max_lag,
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
