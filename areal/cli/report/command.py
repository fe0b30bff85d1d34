# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal report RUN_DIR [--output FILE] [--perfetto FILE]`: write the report of a run, finished, running or killed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from areal.cli.report.load import load_run, trace_files
from areal.cli.report.render import render
from areal.utils import perf_tracer, stat_keys
from areal.utils.errors import ConfigError


def main(argv: Sequence[str]) -> int:
    """Build the report and print where it is; 0, or `ConfigError` when the folder holds no run."""
    parser = argparse.ArgumentParser(prog="areal report", description=__doc__)
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the run's log folder, the one with stats.jsonl in it")
    parser.add_argument("--output", metavar="FILE", help="the HTML file to write (default: RUN_DIR/report.html)")
    parser.add_argument("--perfetto", metavar="FILE", help="also merge the traces into a file for ui.perfetto.dev")
    args = parser.parse_args(list(argv))
    print(build_report(args.run_dir, args.output))
    if args.perfetto:
        print(perf_tracer.to_perfetto(trace_files(Path(args.run_dir)), args.perfetto))
    return 0


def build_report(run_dir: str | Path, output: str | Path | None = None) -> Path:
    """Write the report of `run_dir` to `output` (default: `RUN_DIR/report.html`) and return its path.

    Parts that are missing are named in the report. Raises `ConfigError` for a folder without any file of a run.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise ConfigError(f"expected a run directory, got {str(run_dir)!r}, which is no folder; it is printed at start")
    run = load_run(run_dir)
    if run.is_empty:
        raise ConfigError(
            f"expected {stat_keys.STATS_FILE}, {stat_keys.CONFIG_FILE}, {stat_keys.TRACE_DIR}/ or "
            f"{stat_keys.ROLLOUT_DIR}/ in {str(run_dir)!r}, found none; pass <fileroot>/logs/<user>/<experiment>/<trial>"
        )
    output = Path(output) if output else run_dir / stat_keys.REPORT_FILE
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(render(run), encoding="utf-8")
    return output
