# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import itertools
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from areal.cli.report.load import Run, Span
from areal.cli.report.timeline import pack_rows, timeline_data

INTERVALS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)).map(lambda p: (p[0], p[0] + p[1])), max_size=8)


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


def test_timeline_data_servers_have_lanes_of_serving_and_loading() -> None:
    served = Span("serve", "compute", "server r0", None, 100.0, 103.0)
    loaded = Span("load_weights", "io", "server r0", None, 103.0, 103.5)
    data = timeline_data(run_with(span("train_step", 101, 102), served, loaded))
    assert [lane["name"] for lane in data["lanes"]] == ["server r0", "trainer r0"]
    assert [entry[2] for entry in data["lanes"][0]["spans"]] == ["generate", "sync"]
