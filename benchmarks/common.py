# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Runs of the demo's driver as processes of their own, and what they leave behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from areal.utils import names, stat_keys
from areal.utils.jsonl import read_jsonl

ROOT = Path(__file__).resolve().parent.parent
DRIVER = ROOT / "examples/arithmetic/train.py"
CONFIG = ROOT / "examples/arithmetic/grpo.yaml"
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def run_demo(fileroot: Path, trial: str, *overrides: str) -> Path:
    """Run the demo to its end and return its run directory. The output goes to `<fileroot>/<trial>.log`."""
    command = [sys.executable, str(DRIVER), "--config", str(CONFIG)]
    command += [f"cluster.fileroot={fileroot}", f"trial_name={trial}", *overrides]
    fileroot.mkdir(parents=True, exist_ok=True)
    with (fileroot / f"{trial}.log").open("w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT, env=ENV, cwd=ROOT)
    return names.log_dir(fileroot, "arithmetic", trial)


def rows_of(run_dir: Path) -> list[dict[str, Any]]:
    """Statistics of a run, a row a step."""
    return read_jsonl(run_dir / stat_keys.STATS_FILE)[0]


def summary_of(run_dir: Path) -> dict[str, Any]:
    """The summary of a run."""
    return json.loads((run_dir / stat_keys.SUMMARY_FILE).read_text())
