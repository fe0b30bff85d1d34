# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Totals of a run against numbers worked out by hand."""

from __future__ import annotations

import pytest

from areal.utils import stat_keys as keys
from areal.utils.run_totals import RunTotals


def row(step_s: float, wait_s: float, generation_s: float, tokens: float) -> dict[str, float]:
    return {
        keys.STEP_S: step_s,
        keys.ROLLOUT_S: wait_s,
        keys.GENERATION_S: generation_s,
        keys.TOKENS_PER_S: tokens / step_s,
        keys.NUM_TRAINED_TOKENS: tokens / 2,
    }


# Step 1: 10 s, waits 4, generation goes on for 7 (3 of them while the trainer works for 6). Step 2: 5 s, waits 0, always overlaps.
ROWS = [row(10.0, 4.0, 7.0, 600.0), row(5.0, 0.0, 5.0, 900.0)]


def totals_of(rows: list[dict[str, float]]) -> RunTotals:
    totals = RunTotals()
    for each in rows:
        totals.add(each)
    return totals


def test_summary_two_steps_are_the_hand_computed_shares() -> None:
    assert totals_of(ROWS).summary() == pytest.approx(
        {
            "num_trained_tokens": 750,
            "tokens_per_s": 1500 / 15,
            "trainer_wait_share": 4 / 15,
            "overlap_share": (3 + 5) / (6 + 5),
        }
    )


def test_summary_evaluation_is_neither_work_nor_a_wait() -> None:
    evaluated = {**row(10.0, 1.0, 4.0, 1.0), keys.EVAL_S: 5.0}
    found = totals_of([evaluated]).summary()
    assert found["trainer_wait_share"] == 1 / 5 and found["overlap_share"] == 3 / 4
    busy_meanwhile = {**evaluated, keys.GENERATION_S: 9.0}
    assert totals_of([busy_meanwhile]).summary()["overlap_share"] == 1.0


def test_summary_generation_only_while_the_trainer_waits_is_no_overlap() -> None:
    assert totals_of([row(10.0, 4.0, 3.99, 1.0)]).summary()["overlap_share"] == 0.0


def test_summary_clock_skew_never_leaves_zero_to_one() -> None:
    found = totals_of([row(10.0, 10.01, 10.2, 1.0), row(10.0, 1.0, 10.2, 1.0)]).summary()
    assert found["overlap_share"] == 1.0 and 0.5 < found["trainer_wait_share"] < 0.56


def test_summary_supervised_run_has_tokens_and_no_shares() -> None:
    rows = [{keys.STEP_S: 2.0, keys.TOKENS_PER_S: 50.0, keys.SFT_NUM_TRAINED_TOKENS: 30.0}]
    assert totals_of(rows).summary() == {"num_trained_tokens": 30, "tokens_per_s": 50.0}
    assert RunTotals().summary() == {}


def test_state_resumed_run_counts_the_steps_before_too() -> None:
    resumed = RunTotals()
    resumed.load_state_dict(totals_of(ROWS[:1]).state_dict())
    resumed.add(ROWS[1])
    assert resumed.summary() == totals_of(ROWS).summary()
