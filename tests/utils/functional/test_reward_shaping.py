# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from areal.utils.functional import overlong_penalty, shape_rewards


def test_overlong_penalty_by_hand_has_a_floor_a16():
    lens = torch.tensor([5, 6, 8, 10, 30])
    torch.testing.assert_close(overlong_penalty(lens, 10, 4, 1.0), torch.tensor([0.0, 0.0, -0.5, -1.0, -1.0]))


@pytest.mark.parametrize("overlong_tokens", [0, 11])
def test_overlong_tail_outside_the_answer_is_refused(overlong_tokens):
    with pytest.raises(ValueError, match="overlong_tokens"):
        overlong_penalty(torch.tensor([1]), 10, overlong_tokens, 1.0)


def test_rewards_are_biased_scaled_clipped_and_not_changed_in_place():
    rewards = torch.tensor([1.0, 0.0, 10.0])
    torch.testing.assert_close(shape_rewards(rewards, -0.5, 10.0, 20.0), torch.tensor([5.0, -5.0, 20.0]))
    assert rewards.tolist() == [1.0, 0.0, 10.0]
