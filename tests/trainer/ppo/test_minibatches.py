# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from areal.trainer.ppo import split_minibatches
from areal.trainer.ppo.minibatches import balanced_bounds
from tests.trainer.ppo.batches import trajectory


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.data())
def test_bounds_of_any_sizes_are_non_empty_and_balanced(sizes, data):
    parts = data.draw(st.integers(1, len(sizes)))
    bounds = balanced_bounds(sizes, parts)
    runs = [sum(sizes[a:b]) for a, b in itertools.pairwise(bounds)]
    assert len(runs) == parts and bounds[0] == 0 and bounds[-1] == len(sizes)
    assert all(b > a for a, b in itertools.pairwise(bounds))
    if len(sizes) >= 4 * parts and max(sizes) <= sum(sizes) / (2 * parts):
        assert max(abs(run - sum(sizes) / parts) for run in runs) <= 2 * max(sizes)


def _groups(n):
    return [trajectory([(1, 1 + i % 5, 0)] * 2, [0.0, 1.0], seed=i) for i in range(n)]


def test_groups_stay_whole_and_each_is_used_once_a17():
    data = _groups(10)
    parts = split_minibatches(data, 3, seed=1)
    assert sorted(id(t) for part in parts for t in part) == sorted(id(t) for t in data)
    assert [id(t) for part in parts for t in part] != [id(t) for t in data]


def test_split_depends_on_the_seed_only():
    data = _groups(10)

    def ids(seed):
        return [[id(t) for t in part] for part in split_minibatches(data, 3, seed)]

    assert ids(4) == ids(4)
    assert ids(4) != ids(5)


def test_fewer_groups_than_minibatches_are_split_into_samples():
    parts = split_minibatches(_groups(2), 4, seed=0)
    assert [sum(len(t["rewards"]) for t in part) for part in parts] == [1, 1, 1, 1]


def test_fewer_samples_than_minibatches_are_filled_with_dummies_of_zero_weight():
    parts = split_minibatches(_groups(1), 3, seed=0)
    weights = sorted(int(part[0]["loss_mask"].sum()) for part in parts)
    assert weights == [0, 1, 1]
    assert torch.equal(parts[0][0]["attention_mask"].any(), torch.tensor(True))
