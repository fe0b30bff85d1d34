# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a run left behind, as far as it is there and readable.

A killed run has torn last lines, a running one no summary, an old one no traces: everything here is optional, and `notes`
tells the reader of the report what is missing. Must never fail on the content of a file.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from areal.utils import stat_keys as keys
from areal.utils.jsonl import read_jsonl, to_float

# A folder used twice holds traces of the earlier run too; what ended this long before the first step is not of this one.
_START_UP_S = 120.0
_STEP_FILE = re.compile(r"step_(\d+)\.jsonl")


@dataclass(frozen=True)
class Span:
    """A traced stretch of work. `process` is e.g. "trainer r0"; `lane` is set where work overlaps within a process."""

    name: str
    category: str
    process: str
    lane: str | None
    start_s: float
    end_s: float
    args: dict[str, Any] = field(default_factory=dict)


@dataclass
class Run:
    """Everything the report is made from; `rows` are sorted by step, times are Unix seconds."""

    run_dir: Path
    rows: list[dict[str, float]] = field(default_factory=list)
    config_text: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    rollouts: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether the folder is not a run's."""
        return not (self.rows or self.config_text or self.summary or self.spans or self.rollouts)

    @property
    def is_supervised(self) -> bool:
        """Whether the run trained on given answers, without rollouts."""
        return any(keys.SFT_LOSS in row for row in self.rows)

    def series(self, key: str) -> list[tuple[float, float]]:
        """(step, value) of every row that has `key`."""
        return [(row[keys.GLOBAL_STEP], row[key]) for row in self.rows if key in row]

    def eval_series(self, kind: str) -> list[tuple[float, float, float]]:
        """(step, mean reward, samples behind it) of every "greedy" or "sampled" evaluation; 0 samples where unknown.

        The one before training stands at the step before the first: -1.
        """
        key, count_key = keys.EVAL_KEYS[kind]
        before = self.summary.get("accuracy_before")
        baseline = to_float(before.get(kind)) if isinstance(before, dict) else None
        points = [(-1.0, baseline, to_float(before.get("num_problems")) or 0.0)] if baseline is not None else []
        return points + [(row[keys.GLOBAL_STEP], row[key], row.get(count_key, 0.0)) for row in self.rows if key in row]

    def last(self, key: str) -> float | None:
        """Value of `key` in the last row that has it."""
        return next((row[key] for row in reversed(self.rows) if key in row), None)


def load_run(run_dir: Path) -> Run:
    """Read a run directory."""
    run = Run(run_dir)
    _load_rows(run)
    _load_config(run)
    _load_summary(run)
    _load_spans(run)
    _load_rollouts(run)
    return run


def trace_files(run_dir: Path) -> list[Path]:
    """The trace files of a run, sorted."""
    return sorted((run_dir / keys.TRACE_DIR).rglob("traces-*.jsonl"))


def _load_rows(run: Run) -> None:
    records = _records(run, run.run_dir / keys.STATS_FILE)
    if records is None:
        run.notes.append(f"no {keys.STATS_FILE}: no training step was recorded")
        return
    # A step may commit several rows (one a mini-batch): the report shows their union, later ones win.
    by_step: dict[float, dict[str, float]] = {}
    for record in records:
        row = {key: number for key, value in record.items() if (number := to_float(value)) is not None}
        if keys.GLOBAL_STEP in row:
            by_step.setdefault(row[keys.GLOBAL_STEP], {}).update(row)
    run.rows = [by_step[step] for step in sorted(by_step)]
    if not run.rows:
        run.notes.append(f"{keys.STATS_FILE} holds no step yet")


def _load_config(run: Run) -> None:
    path = run.run_dir / keys.CONFIG_FILE
    if not path.is_file():
        run.notes.append(f"no {keys.CONFIG_FILE}: the configuration is not shown")
        return
    run.config_text = path.read_text(encoding="utf-8", errors="replace")
    try:
        config = yaml.safe_load(run.config_text)
    except yaml.YAMLError:
        run.notes.append(f"{keys.CONFIG_FILE} is not readable YAML: shown as text only")
        return
    run.config = config if isinstance(config, dict) else {}


def _load_summary(run: Run) -> None:
    path = run.run_dir / keys.SUMMARY_FILE
    if not path.is_file():
        return  # the status of the run says so
    try:
        summary = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except ValueError:
        summary = None
    if isinstance(summary, dict):
        run.summary = summary
    else:
        run.notes.append(f"{keys.SUMMARY_FILE} is damaged and left out")


def _load_spans(run: Run) -> None:
    files = trace_files(run.run_dir)
    if not files:
        run.notes.append("no traces: set perf_tracer.enabled=true to see the time line")
    earliest_s = float("-inf")
    if run.rows and keys.UNIX_TIME_S in run.rows[0]:
        earliest_s = run.rows[0][keys.UNIX_TIME_S] - run.rows[0].get(keys.STEP_S, 0.0) - _START_UP_S
    for path in files:
        role = path.parent.relative_to(run.run_dir / keys.TRACE_DIR).as_posix()
        rank = path.stem.removeprefix("traces-")
        process = rank if role == "." else f"{role} {rank}"
        for event in _records(run, path) or []:
            span = _span(event, process)
            if span is not None and span.end_s >= earliest_s:
                run.spans.append(span)
    run.spans.sort(key=lambda span: (span.start_s, -span.end_s))


def _span(event: dict[str, Any], process: str) -> Span | None:
    start, duration = to_float(event.get("ts")), to_float(event.get("dur"))
    if event.get("ph") != "X" or start is None or duration is None:
        return None
    args = event.get("args")
    return Span(
        name=str(event.get("name")),
        category=str(event.get("cat")),
        process=process,
        lane=str(event["id"]) if "id" in event else None,
        start_s=start / 1e6,
        end_s=(start + duration) / 1e6,
        args=args if isinstance(args, dict) else {},
    )


def _load_rollouts(run: Run) -> None:
    last_step = run.rows[-1][keys.GLOBAL_STEP] if run.rows else float("inf")
    for path in sorted((run.run_dir / keys.ROLLOUT_DIR).glob("step_*.jsonl")):
        match = _STEP_FILE.fullmatch(path.name)
        # A step is dumped before it is committed, hence one more than the rows.
        if match is None or int(match[1]) > last_step + 1:
            continue
        records = [record for record in _records(run, path) or [] if isinstance(record.get("tokens"), dict)]
        if records:
            run.rollouts[int(match[1])] = records
    if not run.rollouts and not run.is_supervised:
        run.notes.append(f"no {keys.ROLLOUT_DIR}/step_*.jsonl: no rollouts to show")


def _records(run: Run, path: Path) -> list[dict[str, Any]] | None:
    if not path.is_file():
        return None
    records, num_malformed = read_jsonl(path)
    if num_malformed:
        name = path.relative_to(run.run_dir).as_posix()
        lines = "line" if num_malformed == 1 else "lines"
        run.notes.append(
            f"{name}: skipped {num_malformed} torn or damaged {lines} (a process was killed while writing)"
        )
    return records
