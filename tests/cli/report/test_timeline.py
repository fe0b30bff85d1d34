# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from areal.cli.report.load import Run, Span
from areal.cli.report.timeline import intersection, measure, pack_rows, timeline_data, total, union
from areal.utils import stat_keys as keys

INTERVALS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)).map(lambda p: (p[0], p[0] + p[1])), max_size=8)


def cells(intervals: list[tuple[float, float]]) -> set[int]:
    """Unit cells covered: an independent way to measure intervals with integer ends."""
    return {cell for start, end in intervals for cell in range(int(start), int(end))}


@given(INTERVALS)
def test_union_covers_the_same_cells_without_overlap(intervals: list[tuple[int, int]]) -> None:
    merged = union(intervals)
    assert cells(merged) == cells(intervals) and total(merged) == len(cells(intervals))
    assert all(a[1] < b[0] for a, b in itertools.pairwise(merged))


@given(INTERVALS, INTERVALS)
def test_intersection_covers_the_common_cells(a: list[tuple[int, int]], b: list[tuple[int, int]]) -> None:
    common = intersection(union(a), union(b))
    assert cells(common) == cells(a) & cells(b) and total(common) == len(cells(a) & cells(b))


@given(INTERVALS)
def test_pack_rows_never_overlaps_and_uses_the_fewest_rows(intervals: list[tuple[int, int]]) -> None:
    intervals = sorted(interval for interval in intervals if interval[0] < interval[1])
    rows = pack_rows(intervals)
    for row in set(rows):
        mine = [interval for interval, other in zip(intervals, rows) if other == row]
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(mine))
    deepest = max((sum(s <= cell < e for s, e in intervals) for cell in range(50)), default=0)
    assert max(rows, default=-1) + 1 == deepest


def span(name: str, start: float, end: float, lane: str | None = None, **args: object) -> Span:
    return Span(name, "misc", "trainer r0", lane, start, end, args)


def run_with(*spans: Span, rows: list[dict] | None = None) -> Run:
    return Run(Path(), rows=rows or [], spans=sorted(spans, key=lambda s: s.start_s))


def test_measure_hand_made_step_gives_the_defined_shares() -> None:
    # Step 0-10: wait 0-4, train 4-9, sync 9-10; two generations cover 0-6 together.
    run = run_with(
        span("step", 0, 10, step=0),
        span("rollout", 0, 4),
        span("train_step", 4, 9),
        span("update_weights", 9, 10),
        span("generate", 0, 5, "s1"),
        span("generate", 1, 6, "s2"),
    )
    stats = measure(run)
    assert stats.overlap_share == pytest.approx(2 / 5)
    assert stats.wait_share == pytest.approx(4 / 10)
    assert stats.generation_share == pytest.approx(6 / 10)


def test_measure_without_traces_takes_the_wait_from_the_timings() -> None:
    rows = [{keys.GLOBAL_STEP: i, keys.STEP_S: 4.0, keys.ROLLOUT_S: 1.0} for i in range(3)]
    stats = measure(run_with(rows=rows))
    assert (stats.overlap_share, stats.wait_share, stats.generation_share) == (None, 0.25, None)


def test_measure_of_nothing_is_unknown() -> None:
    stats = measure(run_with())
    assert (stats.overlap_share, stats.wait_share, stats.generation_share) == (None, None, None)


def test_timeline_data_keeps_a_sample_on_one_row_and_separates_reused_ids() -> None:
    data = timeline_data(
        run_with(
            span("train_step", 100, 101),
            span("generate", 100, 102, "s1"),
            span("reward", 102, 103, "s1"),
            span("generate", 100, 101, "s2"),
            span("generate", 500, 501, "s1"),
        )
    )
    assert data["num_rows"] == 2 and data["lanes"] == [
        {"name": "trainer r0", "spans": [[0.0, 1.0, "train", "train_step"]]}
    ]
    by_start = {(start, end): row for start, end, _, row, _ in data["samples"]}
    assert by_start[(0.0, 2.0)] == by_start[(2.0, 3.0)] != by_start[(0.0, 1.0)]


def test_timeline_data_without_phases_is_none() -> None:
    assert timeline_data(run_with(span("something else", 0, 1))) is None
