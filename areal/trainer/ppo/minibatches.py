# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Mini-batches of one update: shuffled with a seed, then cut into parts of about equal tokens.

Called by `PPOActor.ppo_update`. Whole groups stay together where there are enough of them, since the advantages of a
group are centred on each other. Shuffling first keeps a mini-batch's composition independent of answer lengths.
"""

from __future__ import annotations

import itertools
import random

import torch
from torch import Tensor

from areal.utils.data import make_dummy_trajectory

Trajectory = dict[str, Tensor]


def split_minibatches(data: list[Trajectory], num_minibatches: int, seed: int) -> list[list[Trajectory]]:
    """Exactly `num_minibatches` non-empty lists of trajectories that together hold every sample once.

    Every rank must take the same number of optimizer steps, so a rank with fewer samples than mini-batches gets dummies
    of zero weight for the rest.

    Args:
        data: trajectories, one group each, at least one; split into single samples when there are fewer groups than
            mini-batches.
        seed: the same seed and data give the same split.
    """
    units = data if len(data) >= num_minibatches else [row for trajectory in data for row in _rows(trajectory)]
    num_missing = num_minibatches - len(units)
    if num_missing > 0:
        units = [*units, *[make_dummy_trajectory(units[0])] * num_missing]
    if num_minibatches == 1:
        return [list(units)]
    units = random.Random(seed).sample(units, len(units))
    bounds = balanced_bounds([int(unit["attention_mask"].sum()) for unit in units], num_minibatches)
    return [units[start:end] for start, end in itertools.pairwise(bounds)]


def balanced_bounds(num_tokens: list[int], num_parts: int) -> list[int]:
    """Cut a sequence of sizes into `num_parts` non-empty runs: `num_parts + 1` bounds from 0 to its length.

    Cut k lies where the running total is nearest to k shares; each run misses a share by at most one unit.
    """
    running = torch.tensor(num_tokens, dtype=torch.float64).cumsum(0)
    centres = running - torch.tensor(num_tokens, dtype=torch.float64) / 2
    shares = running[-1] / num_parts * torch.arange(1, num_parts)
    bounds = [0]
    for part, cut in enumerate(torch.searchsorted(centres, shares).tolist(), start=1):
        bounds.append(min(max(cut, bounds[-1] + 1), len(num_tokens) - (num_parts - part)))
    return [*bounds, len(num_tokens)]


def _rows(trajectory: Trajectory) -> list[Trajectory]:
    num_rows = trajectory["attention_mask"].shape[0]
    return [{name: value[i : i + 1] for name, value in trajectory.items()} for i in range(num_rows)]
