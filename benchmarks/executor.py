# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Episodes per second and memory of the rollout executor, with an engine that answers at once or after a random latency.

Run alone on the machine: `OMP_NUM_THREADS=1 python benchmarks/executor.py [episodes]`. One JSON line per row.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from areal.api.cli_args import GenerationHyperparameters, InferenceEngineConfig
from areal.api.io_struct import ModelRequest, ModelResponse
from areal.api.workflow_api import RolloutWorkflow
from areal.infra.workflow_executor import WorkflowExecutor
from areal.utils.heap import frozen_heap
from areal.workflow.rlvr import build_trajectory

PROMPT, OUTPUT = list(range(8)), list(range(48))
BATCH = 64


class Engine:
    """Answers with 48 tokens of the current version."""

    def __init__(self, latency_s: Callable[[], float]) -> None:
        self.version = 0
        self._latency_s = latency_s

    def get_version(self) -> int:
        return self.version

    async def agenerate(self, req: ModelRequest) -> ModelResponse:
        await asyncio.sleep(self._latency_s())
        return ModelResponse(
            input_tokens=req.input_ids,
            output_tokens=list(OUTPUT),
            output_logprobs=[-0.5] * len(OUTPUT),
            output_versions=[self.version] * len(OUTPUT),
        )


class Workflow(RolloutWorkflow):
    """What RLVR does without tokenizer and reward: one request, eight tensors of length 56."""

    gconfig = GenerationHyperparameters(max_new_tokens=48)

    async def arun_episode(self, engine: Any, data: dict[str, Any]) -> dict[str, torch.Tensor]:
        response = await engine.agenerate(ModelRequest(input_ids=PROMPT, gconfig=self.gconfig, rid="r"))
        return build_trajectory(response, 1.0)


class Stream:
    batch_size = BATCH

    def __init__(self) -> None:
        self._items: Iterator[tuple[int, dict[str, Any]]] = ((k, {}) for k in iter(range(1 << 60)))

    def next_sample(self) -> tuple[int, dict[str, Any]]:
        return next(self._items)

    def mark_consumed(self, indices: list[int]) -> None:
        pass


def rss_kb() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(name: str, latency_s: Callable[[], float], concurrency: int, episodes: int, mode: str) -> None:
    engine = Engine(latency_s)
    # `prepare_batch` moves the version with every batch; the others never do, so their account must hold all episodes.
    eta = 2 if mode == "prepare_batch" else 1 << 40
    config = InferenceEngineConfig(
        consumer_batch_size=BATCH, max_concurrent_rollouts=concurrency, max_head_offpolicyness=eta
    )
    executor = WorkflowExecutor(config, engine)
    executor.initialize()
    workflow, stream = Workflow(), Stream()

    def run(count: int) -> None:
        if mode == "prepare_batch":
            for _ in range(count // BATCH):
                batch = executor.prepare_batch(stream, workflow)
                assert len(batch) == BATCH
                engine.version += 1
                executor.on_version_changed()
        elif mode == "submit_wait":
            for _ in range(count):
                executor.submit({}, workflow)
            for _ in range(count // BATCH):
                executor.wait(BATCH)
        else:
            for _ in range(count // 128):
                executor.rollout_batch([{}] * 128, workflow)

    run(min(episodes, 4 * concurrency + 640))
    gc.collect()
    before_kb = rss_kb()
    rates, cpu_us = [], []
    for _ in range(3):
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        run(episodes)
        rates.append(episodes / (time.perf_counter() - start_s))
        cpu_us.append(1e6 * (time.process_time() - start_cpu_s) / episodes)
    start_s = time.perf_counter()
    executor.export_stats()
    export_ms = 1e3 * (time.perf_counter() - start_s)
    gc.collect()
    row = {
        "what": name,
        "mode": mode,
        "concurrency": concurrency,
        "episodes": 3 * episodes,
        "episodes_per_s": [round(rate) for rate in rates],
        "cpu_us_per_episode": [round(value, 1) for value in cpu_us],
        "rss_growth_kb": rss_kb() - before_kb,
        "export_ms": round(export_ms, 2),
    }
    executor.destroy()
    print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("episodes", type=int, nargs="?", default=32_000, help="of each row (default: %(default)s)")
    episodes = parser.parse_args().episodes
    torch.set_num_threads(1)
    np.random.seed(0)
    with frozen_heap():  # as in the step loop of the trainers
        rows(episodes)


def rows(episodes: int) -> None:
    rng = random.Random(0)
    for mode in ("prepare_batch", "submit_wait", "rollout_batch"):
        measure("instant engine", lambda: 0.0, 256, episodes, mode)
    measure("10 ms engine", lambda: 0.01, 256, episodes, "prepare_batch")
    for concurrency in (64, 256, 1024, 4096):
        share = min(episodes, concurrency * 32)
        measure("20-200 ms engine", lambda: rng.uniform(0.02, 0.2), concurrency, share, "submit_wait")
        measure("20-200 ms engine", lambda: rng.uniform(0.02, 0.2), concurrency, share, "prepare_batch")


if __name__ == "__main__":
    main()
