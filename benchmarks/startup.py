# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Seconds of a fresh interpreter for the config import and for `areal --help`: `python benchmarks/startup.py [--runs 10]`."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "from areal.api.cli_args import GRPOConfig": [sys.executable, "-c", "from areal.api.cli_args import GRPOConfig"],
    "areal --help": [str(Path(sys.executable).with_name("areal")), "--help"],
}


def seconds(command: list[str]) -> float:
    started_s = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10)
    args = parser.parse_args()
    for name, command in COMMANDS.items():
        found = [seconds(command) for _ in range(args.runs)]
        print(
            json.dumps({"command": name, "median_s": round(statistics.median(found), 3), "max_s": round(max(found), 3)})
        )


if __name__ == "__main__":
    main()
