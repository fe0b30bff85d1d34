# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Wall time of the demo's GRPO steps for staleness bounds 0 (synchronous), 1 and 2, interleaved.

    python -m benchmarks.async_vs_sync [--repeats 3] [--steps 30]

Same work in every leg: same model, problems, samples a step and updates. Also prints which share of the steps' time the
trainer waited for rollouts, and in which share generation and the trainer's work overlapped.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from areal.utils import stat_keys
from benchmarks.common import rows_of, run_demo

WARM_UP_STEPS = 4


def leg(fileroot: Path, eta: int, repeat: int, steps: int) -> dict[str, float]:
    run_dir = run_demo(
        fileroot,
        f"eta{eta}-{repeat}",
        f"total_train_steps={steps}",
        f"rollout.max_head_offpolicyness={eta}",
        "valid_dataset=null",
        "recover.mode=off",
        "rollout.dump_to_file=false",
    )
    rows = rows_of(run_dir)[WARM_UP_STEPS:]
    total_s = sum(row[stat_keys.STEP_S] for row in rows)
    waited_s = sum(row[stat_keys.ROLLOUT_S] for row in rows)
    generating_s = sum(row[stat_keys.GENERATION_S] for row in rows)
    overlap_s = max(0.0, generating_s - waited_s)  # while it waits, the trainer does nothing else
    return {
        "mean_step_s": round(total_s / len(rows), 4),
        "trainer_wait_share": round(waited_s / total_s, 3),
        "overlap_share": round(min(overlap_s / total_s, 1.0), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fileroot", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    args = parser.parse_args()
    step_s: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for repeat in range(args.repeats):
        for eta in step_s:
            found = leg(args.fileroot, eta, repeat, args.steps)
            step_s[eta].append(found["mean_step_s"])
            print(json.dumps({"eta": eta, "repeat": repeat, **found}), flush=True)
    medians = {eta: statistics.median(values) for eta, values in step_s.items()}
    ratios = {f"sync_over_eta{eta}": round(medians[0] / medians[eta], 2) for eta in (1, 2)}
    print(json.dumps({"median_step_s": medians, **ratios}))


if __name__ == "__main__":
    main()
