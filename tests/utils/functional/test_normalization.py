# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from areal.api.cli_args import NormConfig
from areal.utils.functional import Normalization
from tests.distributed import run_ranks

X = torch.tensor([1.0, 0.0, 1.0, 5.0])


@pytest.mark.parametrize(
    ("config", "sizes", "expected"),
    [
        (NormConfig("group", False, "group", group_size=2), None, [0.7071, -0.7071, -0.7071, 0.7071]),
        (NormConfig("batch", False, "batch"), None, [-0.338, -0.789, -0.338, 1.466]),
        (NormConfig("group", True, None, group_size=2), None, [1.0, -1.0, -4.0, 4.0]),
        (NormConfig(None, False, "batch"), None, [0.333, 0.0, 0.333, 1.667]),
        (NormConfig("group", False, "group"), [1, 3], [0.0, -0.756, -0.378, 1.134]),
        (NormConfig("group", False, "batch"), [1, 3], [0.0, -0.9258, -0.4629, 1.3887]),
        (NormConfig(None, False, None), None, [1.0, 0.0, 1.0, 5.0]),
    ],
)
def test_normalization_of_rewards_gives_reference_vectors(config, sizes, expected):
    out = Normalization(config)(X, group_sizes=sizes)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, torch.tensor(expected), atol=1e-3, rtol=0)


def test_leave_one_out_of_a_masked_matrix_leaves_out_single_entries():
    x, mask = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.ones(2, 2)
    out = Normalization(NormConfig("batch", True, None))(x, mask)
    torch.testing.assert_close(out, torch.tensor([[-2.0, -2 / 3], [2 / 3, 2.0]]))


def _naive(x, mask, sizes, config):
    """The definition of 9.4, one entry at a time in Python floats."""
    rows = [[float(v) for v in row] for row in x.reshape(len(x), -1)]
    valid = [[bool(v) for v in row] for row in mask.reshape(len(x), -1)]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]

    def scope(level, i):
        start, size = next((s, n) for s, n in zip(starts, sizes) if s <= i < s + n)
        members = range(len(rows)) if level == "batch" else range(start, start + size)
        return [k for k in members if any(valid[k])]

    def mean_of(i, j):
        if config.mean_level is None:
            return 0.0
        entries = [rows[k][c] for k in scope(config.mean_level, i) for c in range(len(rows[k])) if valid[k][c]]
        if not config.mean_leave1out:
            return sum(entries) / max(len(entries), 1)
        if config.mean_level == "group" and len(scope("group", i)) == 1:
            return rows[i][j]
        return (sum(entries) - rows[i][j]) / (len(entries) - 1) if len(entries) > 1 else 0.0

    def std_of(i):
        members = scope(config.std_level, i)
        squares = [(rows[k][c] - mean_of(k, c)) ** 2 for k in members for c in range(len(rows[k])) if valid[k][c]]
        degrees = len(squares) - config.std_unbiased
        if degrees <= 0 or (config.std_level == "group" and config.std_unbiased and len(members) == 1):
            return 1.0
        return math.sqrt(sum(squares) / degrees)

    out = []
    for i, row in enumerate(rows):
        scale = 1.0 if config.std_level is None else std_of(i) + config.eps
        out.append([(v - mean_of(i, j)) / scale if valid[i][j] else 0.0 for j, v in enumerate(row)])
    return torch.tensor(out).reshape(x.shape)


levels = st.sampled_from(["batch", "group", None])


@settings(max_examples=80, deadline=None, derandomize=True)
@given(levels, st.booleans(), levels, st.booleans(), st.lists(st.integers(1, 3), min_size=1, max_size=4), st.data())
def test_normalization_of_any_groups_and_mask_matches_the_definition(mean, loo, std, unbiased, sizes, data):
    config = NormConfig(mean, loo, std, unbiased, eps=1e-2)
    shape = (sum(sizes), 3)
    numbers = st.lists(st.integers(-4, 4), min_size=shape[0] * 3, max_size=shape[0] * 3)
    x = torch.tensor(data.draw(numbers), dtype=torch.float32).reshape(shape)
    mask = torch.tensor(data.draw(numbers)).reshape(shape) > -2
    out = Normalization(config)(x, mask, group_sizes=sizes)
    expected = _naive(torch.where(mask, x, 0), mask, sizes, config)
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)


def test_normalization_of_equal_rewards_is_exactly_zero():
    out = Normalization(NormConfig("group", False, "group"))(torch.full((7,), 0.1), group_sizes=[3, 4])
    assert torch.equal(out, torch.zeros(7))


def test_normalization_ignores_what_is_masked_also_nan():
    x = torch.tensor([[1.0, math.nan], [3.0, math.inf]])
    out = Normalization(NormConfig("batch", False, None))(x, torch.tensor([[1, 0], [1, 0]]))
    assert torch.equal(out, torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))


@pytest.mark.parametrize("sizes", [[1, 2], [5], [4, 0], [2, 2, 1]])
def test_normalization_with_wrong_group_sizes_is_refused(sizes):
    with pytest.raises(ValueError, match="add up to 4"):
        Normalization(NormConfig("group", False, None))(X, group_sizes=sizes)


def test_normalization_with_rows_left_over_is_refused():
    with pytest.raises(ValueError, match="multiple of group_size=3"):
        Normalization(NormConfig("group", False, None, group_size=3))(X)


def _rank_normalise(rank: int, world_size: int):
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]) if rank == 0 else torch.tensor([[5.0, 9.0], [7.0, 7.0]])
    mask = torch.ones(2, 2) if rank == 0 else torch.zeros(2, 2)
    return Normalization(NormConfig("batch", False, "batch"))(x, mask)


def test_normalization_on_a_rank_without_valid_entries_joins_the_others_b6():
    first, second = run_ranks(_rank_normalise, 2)
    alone = Normalization(NormConfig("batch", False, "batch"))(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.ones(2, 2))
    torch.testing.assert_close(first, alone)
    assert torch.equal(second, torch.zeros(2, 2))


def _rank_half(rank: int, world_size: int, x: torch.Tensor):
    return Normalization(NormConfig("batch", True, "batch"))(x.chunk(world_size)[rank])


def test_normalization_over_two_ranks_equals_one_rank():
    x = torch.tensor([1.0, 0.0, 1.0, 5.0, -2.0, 3.0])
    whole = Normalization(NormConfig("batch", True, "batch"))(x)
    torch.testing.assert_close(torch.cat(run_ranks(_rank_half, 2, x)), whole)
