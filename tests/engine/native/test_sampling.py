# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from areal.engine.native.messages import SamplingParams
from areal.engine.native.sampling import RowSampler, draw, keep_top, seed_key, server_key, uniforms

NUM_DRAWS = 20_000
LOGITS = torch.linspace(-2.0, 3.0, 12).roll(5)


def draws(sampling: SamplingParams, logits: torch.Tensor = LOGITS, seeds: int = 100) -> torch.Tensor:
    """`NUM_DRAWS` tokens from `seeds` rows with different seeds, each row read at many positions."""
    sampler = RowSampler(seeds, torch.device("cpu"))
    for seed in range(seeds):
        sampler.add(sampling, (), seed_key(seed))
    rows = logits.expand(seeds, -1)
    return torch.cat([sampler.sample(rows)[0] for _ in range(NUM_DRAWS // seeds)])


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (SamplingParams(), 12),
        (SamplingParams(temperature=0.6), 12),
        (SamplingParams(top_k=4), 4),
        (SamplingParams(top_p=0.7), None),
        (SamplingParams(temperature=1.5, top_k=7, top_p=0.9), None),
    ],
)
def test_draws_follow_the_adjusted_distribution(sampling: SamplingParams, kept: int | None) -> None:
    probs = (LOGITS / sampling.temperature).softmax(0).double()
    order = probs.argsort(descending=True)
    if sampling.top_k > 0:
        probs[order[sampling.top_k :]] = 0.0
    probs /= probs.sum()
    before = probs[order].cumsum(0) - probs[order]
    probs[order[before >= sampling.top_p]] = 0.0
    probs /= probs.sum()

    counts = torch.bincount(draws(sampling), minlength=12).double()

    support = probs > 0
    assert kept in (None, int(support.sum()))
    assert counts[~support].sum() == 0
    assert stats.chisquare(counts[support].numpy(), (probs[support] * NUM_DRAWS).numpy()).pvalue > 1e-3


def test_uniforms_pass_a_chi_square_over_keys_counters_and_their_pairs() -> None:
    keys = np.array([seed_key(s) for s in range(200)], np.uint64)
    grid = np.stack([uniforms(keys, np.full(200, i, np.uint64)) for i in range(500)])

    assert stats.chisquare(np.bincount((grid.ravel() * 64).astype(int), minlength=64)).pvalue > 1e-3
    for first, second in ((grid[:-1], grid[1:]), (grid[:, :-1], grid[:, 1:])):
        cells = (first * 8).astype(int) * 8 + (second * 8).astype(int)
        assert stats.chisquare(np.bincount(cells.ravel(), minlength=64)).pvalue > 1e-3
    assert grid.min() >= 0.0 and grid.max() < 1.0


def test_uniforms_equal_the_published_splitmix64_sequence() -> None:
    # The first outputs of the reference SplitMix64 for seed 1234567.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]

    got = uniforms(np.full(3, 1234567, np.uint64), np.arange(3, dtype=np.uint64))

    assert got.tolist() == [(x >> 12) * 2.0**-52 for x in expected]


def test_streams_of_seeds_and_of_the_server_differ() -> None:
    keys = [seed_key(s) for s in (-1, 0, 1, 2**64 - 2)] + [server_key(1, i) for i in range(3)] + [server_key(2, 0)]

    assert len(set(keys)) == len(keys)
    assert seed_key(-1) == seed_key(2**64 - 1)


def test_draw_inverts_the_cumulative_distribution_at_its_edges() -> None:
    probs = torch.tensor([[0.0, 0.25, 0.0, 0.5, 0.25, 0.0]]).expand(6, -1)
    u = torch.tensor([0.0, 0.2499999, 0.25, 0.7499999, 0.75, 1.0 - 2.0**-52], dtype=torch.float64)

    assert draw(probs, u).tolist() == [1, 1, 3, 3, 4, 4]


def test_draw_over_many_blocks_finds_the_token_at_every_part_of_the_distribution() -> None:
    vocab_size, num_rows = 1000, 4096
    probs = torch.randn(vocab_size, generator=torch.Generator().manual_seed(0)).mul(3).softmax(0)
    probs[::3] = 0.0
    probs[960:] = 0.0  # the last block has no mass at all
    probs /= probs.sum()
    cdf = probs.double().cumsum(0)
    edges = torch.cat((cdf - probs.double(), cdf * (1 - 2.0**-52)))
    u = torch.cat((torch.linspace(0, 1 - 2.0**-52, num_rows, dtype=torch.float64), edges / cdf[-1])).clamp(
        0, 1 - 2.0**-52
    )

    tokens = draw(probs.expand(len(u), -1), u)

    assert (probs[tokens] > 0).all()
    expected = torch.searchsorted(cdf, u * cdf[-1], right=True)
    exact = (cdf[expected] - u * cdf[-1]).abs().minimum((u * cdf[-1] - cdf[expected] + probs[expected]).abs()) > 1e-6
    assert exact.sum() > num_rows / 2
    assert tokens[exact].tolist() == expected[exact].tolist()


def test_draw_of_a_row_of_nan_stays_in_the_vocabulary() -> None:
    assert 0 <= draw(torch.full((1, 4), torch.nan), torch.tensor([0.5], dtype=torch.float64)).item() < 4


def test_keep_top_keeps_exactly_k_on_ties_and_at_least_one_token() -> None:
    logits = torch.tensor([[1.0, 1.0, 1.0, 0.0], [5.0, 0.0, 0.0, 0.0]])

    kept = keep_top(logits, torch.tensor([2, 2**62]), torch.tensor([1.0, 1e-9], dtype=torch.float64))

    assert torch.isfinite(kept).tolist() == [[True, True, False, False], [True, False, False, False]]


def test_a_rows_draws_do_not_depend_on_the_rows_around_it() -> None:
    params = [SamplingParams(), SamplingParams(temperature=0.5), SamplingParams(top_p=0.5), SamplingParams(greedy=True)]
    rows = torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    together = RowSampler(4, torch.device("cpu"))
    for i, p in enumerate(params):
        together.add(p, (), seed_key(i))
    seen = [together.sample(rows) for _ in range(5)]
    together.retain([3, 1])
    later_tokens, later_logprobs = together.sample(rows[[3, 1]])

    for i, p in enumerate(params):
        alone = RowSampler(1, torch.device("cpu"))
        alone.add(p, (), seed_key(i))
        for tokens, logprobs in seen:
            token, logprob = alone.sample(rows[i : i + 1])
            assert (token.item(), logprob.item()) == (tokens[i].item(), pytest.approx(logprobs[i].item(), abs=1e-6))
        if i in (3, 1):
            token, logprob = alone.sample(rows[i : i + 1])
            place = [3, 1].index(i)
            assert token.item() == later_tokens[place].item()
            assert logprob.item() == pytest.approx(later_logprobs[place].item(), abs=1e-6)


def test_long_streams_are_those_of_the_counters_whoever_joins_and_leaves() -> None:
    def stream(seed: int, offset: int, steps: int) -> list[int]:
        u = uniforms(np.full(steps, seed_key(seed), np.uint64), np.arange(offset, offset + steps, dtype=np.uint64))
        return draw(LOGITS.softmax(0).expand(steps, -1), torch.from_numpy(u)).tolist()

    sampler, seen = RowSampler(3, torch.device("cpu")), {seed: [] for seed in range(3)}
    rows: list[int] = []

    def step(times: int) -> None:
        for _ in range(times):
            for seed, token in zip(rows, sampler.sample(LOGITS.expand(len(rows), -1))[0].tolist(), strict=True):
                seen[seed].append(token)

    for seed in (0, 1):
        sampler.add(SamplingParams(rng_offset=7 * seed), (), seed_key(seed))
    rows = [0, 1]
    step(40)
    sampler.add(SamplingParams(), (), seed_key(2))
    seen[2] += sampler.sample(LOGITS.expand(1, -1), 2)[0].tolist()
    rows = [0, 1, 2]
    step(21)
    sampler.retain([2, 1])
    rows = [2, 1]
    step(9)

    assert [len(seen[seed]) for seed in range(3)] == [61, 70, 31]
    assert all(seen[seed] == stream(seed, 7 * (seed == 1), len(seen[seed])) for seed in range(3))
