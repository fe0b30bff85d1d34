# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The demo on several seeds, and its control: accuracy before and after, wall time, tokens/s.

    python -m benchmarks.demo_seeds [--seeds 0 1 2 3 4] [--control-seed 0]

Each run is what `make demo` does after installation, warm start included. The control trains seed `--control-seed` on
rewards that say nothing about the answer. Prints one JSON line a run.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from benchmarks.common import run_demo, summary_of


def report(name: str, fileroot: Path, *overrides: str) -> None:
    started_s = time.perf_counter()
    summary = summary_of(run_demo(fileroot, name, *overrides))
    kept = ("accuracy_before", "accuracy_after", "tokens_per_s", "overlap_share", "trainer_wait_share")
    line = {"run": name, "total_wall_s": round(time.perf_counter() - started_s, 1), "grpo_wall_s": summary["wall_s"]}
    print(json.dumps({**line, **{key: summary.get(key) for key in kept}}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fileroot", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--control-seed", type=int, default=0)
    args = parser.parse_args()
    for seed in args.seeds:
        report(f"seed{seed}", args.fileroot / f"seed{seed}", f"seed={seed}")
    control = ("train_reward_fn=benchmarks.random_reward.random_reward_fn", f"seed={args.control_seed}")
    report("random-reward", args.fileroot / f"seed{args.control_seed}", *control)


if __name__ == "__main__":
    main()
