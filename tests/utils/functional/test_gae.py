# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from areal.utils.functional import gae_packed, gae_padded


def _slow(rewards, mask, discount, lam, values, bootstrap):
    """The recursion of 9.7 for one sequence, backwards in Python floats."""
    out, next_value, last = [0.0] * len(rewards), bootstrap, 0.0
    for t in reversed(range(len(rewards))):
        if mask[t]:
            last = rewards[t] + discount * next_value - values[t] + discount * lam * last
            next_value = values[t]
        out[t] = last
    return out


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.data(), st.integers(1, 9), st.integers(1, 4), st.sampled_from([0.0, 0.7, 0.95, 1.0]), st.booleans())
def test_gae_of_any_mask_matches_the_slow_loop(data, width, num_rows, discount, has_values):
    numbers = st.lists(st.integers(-3, 3), min_size=width * num_rows, max_size=width * num_rows)
    rewards = torch.tensor(data.draw(numbers), dtype=torch.float32).reshape(num_rows, width)
    mask = torch.tensor(data.draw(numbers)).reshape(num_rows, width) > -1
    values = torch.tensor(data.draw(numbers), dtype=torch.float32).reshape(num_rows, width) * has_values
    lam = torch.linspace(0.5, 1.0, num_rows)
    bootstrap = torch.arange(num_rows).float() * has_values
    advantages, returns = gae_padded(
        rewards, mask, discount, lam, values if has_values else None, bootstrap if has_values else None
    )
    expected = torch.tensor(
        [
            _slow(r.tolist(), m.tolist(), discount, float(la), v.tolist(), float(b))
            for r, m, la, v, b in zip(rewards, mask, lam, values, bootstrap)
        ]
    )
    torch.testing.assert_close(advantages, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(returns, expected + values, atol=1e-4, rtol=1e-4)


def test_gae_by_hand_with_values_and_an_environment_token_between():
    # trained positions 0, 1, 3; gamma 0.5, lambda 0.5, bootstrap 8
    rewards = torch.tensor([[0.0, 0.0, 100.0, 2.0, 0.0]])
    mask = torch.tensor([[True, True, False, True, False]])
    values = torch.tensor([[1.0, 2.0, 50.0, 4.0, 60.0]])
    advantages, returns = gae_padded(rewards, mask, 0.5, 0.5, values, torch.tensor([8.0]))
    # deltas: 2 + 4 - 4 = 2;  0 + 2 - 2 = 0;  0 + 1 - 1 = 0;  A = 2, 0.5, 0.125; position 2 carries position 3
    torch.testing.assert_close(advantages, torch.tensor([[0.125, 0.5, 2.0, 2.0, 0.0]]))
    torch.testing.assert_close(returns, torch.tensor([[1.125, 2.5, 52.0, 6.0, 60.0]]))


def test_gae_packed_equals_padded_for_sequences_of_different_lengths():
    generator = torch.Generator().manual_seed(0)
    lens = [1, 7, 0, 4, 12]
    rewards, values = torch.randn(5, 12, generator=generator), torch.randn(5, 12, generator=generator)
    inside = torch.arange(12)[None] < torch.tensor(lens)[:, None]
    mask = inside & (torch.rand(5, 12, generator=generator) > 0.3)
    bootstrap = torch.randn(5, generator=generator)
    padded = gae_padded(rewards, mask, 0.9, 0.8, values, bootstrap)
    cu_seqlens = torch.tensor([0, *lens]).cumsum(0).int()
    packed = gae_packed(rewards[inside], mask[inside], cu_seqlens, 12, 0.9, 0.8, values[inside], bootstrap)
    torch.testing.assert_close(packed[0], padded[0][inside])
    torch.testing.assert_close(packed[1], padded[1][inside])


def test_gae_does_not_change_its_inputs():
    rewards, mask = torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool)
    gae_padded(rewards, mask, 0.9, 0.9)
    assert torch.equal(rewards, torch.ones(2, 3))


def test_gae_of_a_long_row_stays_exact():
    mask = torch.ones(1, 4096, dtype=torch.bool)
    advantages, _ = gae_padded(torch.ones(1, 4096), mask, 1.0, 1.0)
    assert torch.equal(advantages[0], torch.arange(4096, 0, -1).float())
