# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The schedule overlaps generation and training: long-tailed generation on virtual time."""

from __future__ import annotations

import pytest

from benchmarks.schedule_sim import simulate


@pytest.mark.parametrize(
    ("concurrency", "train_s"), [(32, 1.4), (32, 0.7), (64, 1.4)], ids=["balanced", "generation-bound", "train-bound"]
)
def test_schedule_eta_four_reaches_the_ideal_step(concurrency: int, train_s: float) -> None:
    schedule = simulate(eta=4, concurrency=concurrency, train_s=train_s, limit_s=5.0)
    assert schedule.efficiency >= 0.95
    assert schedule.max_lag <= 4


def test_schedule_more_staleness_is_never_slower_and_never_exceeded() -> None:
    schedules = [simulate(eta, 32, 1.4, 5.0, num_steps=60) for eta in (0, 1, 2, 4)]
    assert [schedule.max_lag for schedule in schedules] <= [0, 1, 2, 4]
    steps_s = [schedule.step_s for schedule in schedules]
    assert steps_s == sorted(steps_s, reverse=True)
