# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from areal.utils.seqpack import (
    PACKING_ALGORITHMS,
    balanced_greedy_partition,
    ffd_allocate,
    get_allocate_fn,
    kk_allocate,
)

NAMES = sorted(PACKING_ALGORITHMS)
values_and_groups = st.lists(st.integers(0, 100), min_size=1, max_size=40).flatmap(
    lambda values: st.tuples(st.just(values), st.integers(1, len(values)), st.integers(0, 60))
)


def sums_of(groups: list[list[int]], values: list[int]) -> list[int]:
    return [sum(values[i] for i in group) for group in groups]


def best_largest_sum(values: list[int], num_groups: int) -> int:
    """The optimum by trying every assignment."""
    best = sum(values)
    for assignment in itertools.product(range(num_groups), repeat=len(values) - 1):
        sums = [0] * num_groups
        sums[0] = values[0]
        for value, group in zip(values[1:], assignment, strict=True):
            sums[group] += value
        best = min(best, max(sums))
    return best


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None)
@given(case=values_and_groups, divisor=st.integers(1, 4))
def test_allocate_any_values_lands_each_once_within_cap(name: str, case: tuple, divisor: int) -> None:
    values, min_groups, slack = case
    capacity = max(values) + slack + 1
    try:
        groups = get_allocate_fn(name)(values, capacity, min_groups, divisor)
    except ValueError as error:
        assert "at least" in str(error)  # only when the divisor asks for more groups than there are values
        assert divisor > 1
        return
    assert sorted(itertools.chain(*groups)) == list(range(len(values)))
    assert all(groups)
    assert max(sums_of(groups, values)) <= capacity
    assert len(groups) >= min_groups
    assert len(groups) % divisor == 0


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.integers(0, 50), min_size=3, max_size=8), num_groups=st.integers(1, 3))
def test_allocate_without_cap_stays_within_four_thirds_of_optimum(name: str, values: list, num_groups: int) -> None:
    # LPT: Graham 1969. Largest differencing: Michiels, Korst and Aarts 2003. Both: 4/3 - 1/(3k).
    groups = get_allocate_fn(name)(values, math.inf, num_groups)
    assert len(groups) == num_groups
    bound = 4 / 3 - 1 / (3 * num_groups)
    assert max(sums_of(groups, values)) <= bound * best_largest_sum(values, num_groups) + 1e-9


@settings(max_examples=300, deadline=None)
@given(values=st.lists(st.integers(0, 1000), min_size=1, max_size=60), num_groups=st.integers(1, 8))
def test_balanced_greedy_partition_any_count_differs_by_one_member_and_largest_value(
    values: list[int], num_groups: int
) -> None:
    groups = balanced_greedy_partition(values, num_groups)
    assert sorted(itertools.chain(*groups)) == list(range(len(values)))
    assert max(map(len, groups)) - min(map(len, groups)) <= 1
    if len(values) % num_groups == 0:
        sums = sums_of(groups, values)
        assert max(sums) - min(sums) <= max(values)


def test_ffd_reference_values_cap_six_gives_three_groups() -> None:
    assert sorted(map(sorted, ffd_allocate([5, 4, 3, 2, 1], 6, 1))) == [[0], [1, 4], [2, 3]]


def test_ffd_one_long_sequence_leaves_the_short_ones_together() -> None:
    # AReaL counts members and returns {0, 3, 5}, {1, 2, 4}: sums 12 and 3 instead of 10 and 5.
    assert sorted(map(sorted, ffd_allocate([10, 1, 1, 1, 1, 1], 1e12, 2))) == [[0], [1, 2, 3, 4, 5]]


def test_kk_reference_values_balances_exactly() -> None:
    values = [100, 200, 300, 150, 250]
    assert sums_of(kk_allocate(values, 500, 2), values) == [500, 500]


def test_kk_equal_size_gives_equal_counts() -> None:
    groups = kk_allocate([9, 1, 1, 1, 1, 1], math.inf, 2, equal_size=True)
    assert [len(group) for group in groups] == [3, 3]


def test_kk_equal_size_uneven_count_raises() -> None:
    with pytest.raises(ValueError, match="multiple of the number of groups"):
        kk_allocate([1, 2, 3], math.inf, 2, equal_size=True)


def test_kk_cap_not_met_falls_back_to_ffd(caplog: pytest.LogCaptureFixture) -> None:
    values = [6, 6, 6]  # two groups by the total, three by the cap
    assert len(kk_allocate(values, 9, 1)) == 3


@pytest.mark.parametrize("name", NAMES)
def test_allocate_value_above_capacity_raises_with_index(name: str) -> None:
    with pytest.raises(ValueError, match="got 12 at index 1"):
        get_allocate_fn(name)([3, 12], 10, 1)


@pytest.mark.parametrize("name", NAMES)
def test_allocate_fewer_values_than_groups_raises(name: str) -> None:
    with pytest.raises(ValueError, match="3 groups need at least 3 values, got 2"):
        get_allocate_fn(name)([3, 4], 10, 3)


def test_get_allocate_fn_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"\['ffd', 'kk'\], got 'best'"):
        get_allocate_fn("best")


@pytest.mark.parametrize("name", NAMES)
def test_allocate_4096_lengths_reaches_near_lower_bound_fast(name: str) -> None:
    lengths = np.clip(np.random.default_rng(0).lognormal(6, 0.8, 4096), 1, 16384).astype(int).tolist()
    start = time.process_time()
    groups = get_allocate_fn(name)(lengths, 16384, 1)
    assert time.process_time() - start < 1.0  # AReaL's kk takes 2.3 to 2.6 s
    assert len(groups) <= math.ceil(sum(lengths) / 16384) + 1
