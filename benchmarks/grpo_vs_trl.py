# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Seconds of a GRPO step (16 prompts x 8 samples, 2 optimizer steps) of areal and of TRL's GRPOTrainer, interleaved.

    python -m benchmarks.grpo_vs_trl --trl-python PATH [--repeats 3] [--steps 20]

Same model (the demo's warm start, made if it is missing), problems, sampling, loss and optimizer. One thread a process:
TRL generates and trains in one process (a second thread gains it nothing at this size), areal in two. The first 3 steps
are warm-up. Prints one JSON line a leg and one with the ratio of the medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from pathlib import Path

from areal.dataset import get_custom_dataset
from areal.utils import stat_keys
from areal.utils.hf_utils import load_hf_tokenizer
from benchmarks.common import ENV, ROOT, rows_of, run_demo

WARM_UP_STEPS = 3


def areal_steps(fileroot: Path, trial: str, steps: int) -> list[float]:
    run_dir = run_demo(
        fileroot,
        trial,
        f"total_train_steps={steps}",
        "valid_dataset=null",
        "recover.mode=off",
        "perf_tracer.enabled=false",
        "rollout.dump_to_file=false",
    )
    return [row[stat_keys.STEP_S] for row in rows_of(run_dir)][WARM_UP_STEPS:]


def trl_steps(python: str, model: Path, prompts: Path, steps: int) -> list[float]:
    command = [python, str(ROOT / "benchmarks/peers/trl_grpo.py"), "--model", str(model)]
    command += ["--prompts", str(prompts), "--steps", str(steps)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=ENV).stdout
    return json.loads(output.splitlines()[-1])["step_s"][WARM_UP_STEPS:]


def write_prompts(model: Path, path: Path, num_prompts: int) -> None:
    tokenizer = load_hf_tokenizer(str(model))
    items = get_custom_dataset("train", path="arithmetic", type="rl", tokenizer=tokenizer, size=num_prompts, seed=0)
    lines = (json.dumps({"messages": item["messages"], "answer": item["answer"]}) for item in items)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trl-python", required=True, help="Python of an environment with TRL")
    parser.add_argument("--fileroot", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    run_demo(args.fileroot, "warm-up", "total_train_steps=1", "valid_dataset=null", "recover.mode=off")
    model, prompts = args.fileroot / "arithmetic/seed0/warm_start", args.fileroot / "prompts.jsonl"
    write_prompts(model, prompts, 16 * args.steps)
    step_s: dict[str, list[float]] = {"trl": [], "areal": []}
    for repeat in range(args.repeats):
        for name in step_s:
            if name == "trl":
                found = trl_steps(args.trl_python, model, prompts, args.steps)
            else:
                found = areal_steps(args.fileroot, f"vs-trl-{repeat}", args.steps)
            step_s[name] += found
            print(json.dumps({"leg": name, "repeat": repeat, "median_step_s": round(statistics.median(found), 4)}))
    medians = {name: statistics.median(values) for name, values in step_s.items()}
    print(json.dumps({"median_step_s": medians, "trl_over_areal": round(medians["trl"] / medians["areal"], 2)}))


if __name__ == "__main__":
    main()
