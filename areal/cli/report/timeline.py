# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Generation, training and synchronisation against the clock: what the traces say, measured and laid out in lanes.

Definitions, over unions of spans (parallel work counts once): T training, G generation in flight, W the trainer waiting
for rollouts, S the steps. overlap = |G ∩ T| / |T|; wait share = |W| / |S|; generation busy = |G ∩ S| / |S|.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from areal.cli.report.load import Run, Span
from areal.utils import stat_keys as keys

Interval = tuple[float, float]

_PHASES = {
    keys.SPAN_WAIT: "wait",
    **dict.fromkeys(keys.SPAN_TRAIN, "train"),
    keys.SPAN_SYNC: "sync",
    **dict.fromkeys(keys.SPAN_SAVE, "save"),
    keys.SPAN_EVAL: "eval",
}
_SAMPLE_PHASES = {keys.SPAN_GENERATE: "generate", keys.SPAN_REWARD: "reward"}
# Each drawn span costs about 40 bytes of the file; beyond this only the latest samples are drawn, all are measured.
_MAX_SAMPLE_SPANS = 30_000
# The same few sub-phases thousands of times tell nothing at this scale.
_MAX_ROWS = 48
# Longer than a tool call between two turns, shorter than an epoch, after which the ids of samples come back.
_SESSION_GAP_S = 30.0


@dataclass(frozen=True)
class TimelineStats:
    """Shares of the whole run; None where the spans that define one are missing."""

    overlap_share: float | None
    wait_share: float | None
    generation_share: float | None


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The same points as `intervals`, as disjoint sorted intervals."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def intersection(a: Sequence[Interval], b: Sequence[Interval]) -> list[Interval]:
    """Points in both; `a` and `b` are disjoint and sorted, and so is the result."""
    common: list[Interval] = []
    i = j = 0
    while i < len(a) and j < len(b):
        start, end = max(a[i][0], b[j][0]), min(a[i][1], b[j][1])
        if start < end:
            common.append((start, end))
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
    return common


def total(intervals: Iterable[Interval]) -> float:
    """Length of disjoint intervals."""
    return sum(end - start for start, end in intervals)


def measure(run: Run) -> TimelineStats:
    """Overlap and waiting over the run: from the spans, or the wait share from the step timings without them."""
    of_phase = {phase: union(_of(run.spans, phase)) for phase in ("wait", "train", "generate")}
    steps = union((start, end) for _, start, end in step_intervals(run))
    train_s, steps_s = total(of_phase["train"]), total(steps)
    has_generation = bool(of_phase["generate"])
    wait_share = None
    if steps_s > 0 and of_phase["wait"]:
        wait_share = total(intersection(of_phase["wait"], steps)) / steps_s
    elif timed := [row for row in run.rows if keys.STEP_S in row and keys.ROLLOUT_S in row]:
        wait_share = sum(row[keys.ROLLOUT_S] for row in timed) / max(sum(row[keys.STEP_S] for row in timed), 1e-9)
    overlap = intersection(of_phase["generate"], of_phase["train"])
    return TimelineStats(
        overlap_share=total(overlap) / train_s if has_generation and train_s > 0 else None,
        wait_share=wait_share,
        generation_share=total(intersection(of_phase["generate"], steps)) / steps_s
        if has_generation and steps_s > 0
        else None,
    )


def step_intervals(run: Run) -> list[tuple[int, float, float]]:
    """(step, start, end) of every step: from its span, or from the time of its row and its duration."""
    intervals = {
        int(span.args["step"]): (span.start_s, span.end_s)
        for span in run.spans
        if span.name == keys.SPAN_STEP and isinstance(span.args.get("step"), int)
    }
    for row in run.rows:
        step = int(row[keys.GLOBAL_STEP])
        if step not in intervals and keys.UNIX_TIME_S in row and keys.STEP_S in row:
            intervals[step] = (row[keys.UNIX_TIME_S] - row[keys.STEP_S], row[keys.UNIX_TIME_S])
    return [(step, *intervals[step]) for step in sorted(intervals)]


def timeline_data(run: Run) -> dict[str, Any] | None:
    """What timeline.js draws, times in seconds since the first span; None without traced phases.

    `lanes`: one a process with phase spans, `[start, end, phase, name]`. `samples`: `[start, end, phase, row, task]`.
    """
    phases = [span for span in run.spans if span.name in _PHASES and span.lane is None]
    samples = [span for span in run.spans if span.name in _SAMPLE_PHASES]
    num_left_out = max(len(samples) - _MAX_SAMPLE_SPANS, 0)
    samples = samples[num_left_out:]
    if not phases and not samples:
        return None
    origin = min(span.start_s for span in [*phases, *samples])

    def since(moment: float) -> float:
        return round(moment - origin, 4)

    lanes: dict[str, list[list[Any]]] = {}
    for span in phases:
        lanes.setdefault(span.process, []).append(
            [since(span.start_s), since(span.end_s), _PHASES[span.name], span.name]
        )
    sessions = _sessions(samples)
    row_of_session = pack_rows([(session[0].start_s, max(span.end_s for span in session)) for session in sessions])
    drawn = [(span, row) for session, row in zip(sessions, row_of_session) for span in session]
    return {
        "origin_unix_s": origin,
        "steps": [[step, since(start), since(end)] for step, start, end in step_intervals(run)],
        "lanes": [{"name": name, "spans": lanes[name]} for name in sorted(lanes)],
        "samples": [
            [since(span.start_s), since(span.end_s), _SAMPLE_PHASES[span.name], row, span.args.get("task_id")]
            for span, row in drawn
        ],
        "num_rows": max(row_of_session, default=-1) + 1,
        "max_rows": _MAX_ROWS,
        "num_left_out": num_left_out,
    }


def pack_rows(intervals: Sequence[Interval]) -> list[int]:
    """Row of each interval such that none overlap within a row, with as few rows as possible; sorted by start."""
    busy: list[tuple[float, int]] = []  # (end, row)
    free: list[int] = []
    rows = []
    for start, end in intervals:
        while busy and busy[0][0] <= start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        row = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (end, row))
        rows.append(row)
    return rows


def _sessions(samples: Sequence[Span]) -> list[list[Span]]:
    """The spans of each sample, in order of their starts; a lane that comes back after a while is another sample."""
    sessions: list[list[Span]] = []
    latest: dict[tuple[str, str | None], list[Span]] = {}
    for span in samples:
        lane = (span.process, span.lane)
        session = latest.get(lane)
        if session is None or span.start_s - session[-1].end_s > _SESSION_GAP_S:
            session = latest[lane] = []
            sessions.append(session)
        session.append(span)
    return sessions


def _of(spans: Iterable[Span], phase: str) -> Iterable[Interval]:
    named = _PHASES | _SAMPLE_PHASES
    return ((span.start_s, span.end_s) for span in spans if named.get(span.name) == phase)
