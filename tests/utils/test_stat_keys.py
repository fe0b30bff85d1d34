# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import pytest

from areal.utils import stat_keys


def test_every_invariant_has_a_flag_and_a_measure_below_its_prefix() -> None:
    assert set(stat_keys.INVARIANT_MEASURES) == set(stat_keys.INVARIANTS)
    for name, measure in stat_keys.INVARIANT_MEASURES.items():
        assert measure.startswith(f"invariants/{name}/") and stat_keys.invariant_ok(name) == f"invariants/{name}/ok"


def test_invariant_ok_of_another_name_raises() -> None:
    with pytest.raises(ValueError, match="colour"):
        stat_keys.invariant_ok("colour")


def test_span_names_are_the_last_part_of_their_timing_keys() -> None:
    timed = (
        stat_keys.ROLLOUT_S,
        stat_keys.SYNC_S,
        stat_keys.EVAL_S,
        *stat_keys.TRAIN_PHASES_S,
        *stat_keys.CHECK_PHASES_S,
    )
    spans = (
        stat_keys.SPAN_WAIT,
        stat_keys.SPAN_SYNC,
        stat_keys.SPAN_EVAL,
        *stat_keys.SPAN_TRAIN,
        *stat_keys.SPAN_CHECK,
    )
    assert [key.split("/")[1] for key in timed] == list(spans)
