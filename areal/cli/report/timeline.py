# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Generation, training and synchronisation against the clock: what the traces say, laid out in lanes."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

from areal.cli.report.load import Run, Span
from areal.utils import stat_keys as keys

Interval = tuple[float, float]

_PHASES = {
    keys.SPAN_WAIT: "wait",
    **dict.fromkeys(keys.SPAN_TRAIN, "train"),
    **dict.fromkeys(keys.SPAN_CHECK, "check"),
    keys.SPAN_SYNC: "sync",
    **dict.fromkeys(keys.SPAN_SAVE, "save"),
    keys.SPAN_EVAL: "eval",
    keys.SPAN_SERVE: "generate",
    keys.SPAN_LOAD: "sync",
}
_SAMPLE_PHASES = {keys.SPAN_GENERATE: "generate", keys.SPAN_REWARD: "reward"}
# Each drawn span costs about 40 bytes of the file; beyond this only the latest samples are drawn.
_MAX_SAMPLE_SPANS = 30_000
# The same few sub-phases thousands of times tell nothing at this scale.
_MAX_ROWS = 48
# Longer than a tool call between two turns, shorter than an epoch, after which the ids of samples come back.
_SESSION_GAP_S = 30.0


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
