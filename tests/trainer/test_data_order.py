# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import json

from hypothesis import given
from hypothesis import strategies as st

from areal.trainer.data_order import DataOrder
from areal.utils import stat_keys

OK = stat_keys.invariant_ok("data_order")


@given(st.permutations(range(12)), st.integers(1, 11))
def test_data_order_each_sample_once_holds_across_a_restart(order: list[int], cut: int) -> None:
    whole = DataOrder()
    expected = whole.consume(order)
    first = DataOrder()
    first.consume(order[:cut])
    resumed = DataOrder()
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert resumed.consume(order[cut:]) == expected
    assert expected[OK] == 1.0


def test_data_order_repeated_sample_is_a_violation() -> None:
    order = DataOrder()
    assert order.consume([0, 2, 1])[OK] == 1.0
    found = order.consume([3, 1])
    assert found[OK] == 0.0
    assert found[stat_keys.INVARIANT_MEASURES["data_order"]] == 1.0


def test_data_order_other_order_gives_another_chain() -> None:
    assert DataOrder().consume([0, 1]) != DataOrder().consume([1, 0])
