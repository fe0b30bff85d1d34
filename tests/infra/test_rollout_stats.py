# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Statistics of consumed batches against numbers worked out by hand."""

from __future__ import annotations

import asyncio

import torch

from areal.infra.consumption import RolloutTask
from areal.infra.rollout_core import RolloutCore
from areal.infra.rollout_stats import LAG_MIN, OLDEST_VERSION, RolloutStats
from areal.infra.staleness_manager import StalenessManager
from areal.utils import stat_keys
from areal.utils.data import concat_padded_tensors
from tests.fakes import FakeVersion, tiny_trajectory


async def exported(tasks: list[RolloutTask], version: int) -> dict[str, float]:
    stats = RolloutStats()
    stats.on_batch(version, tasks)
    core = RolloutCore(StalenessManager(FakeVersion(version), 4, 2, 2), max_repeated_failures=8)
    try:
        return stats.export(core)
    finally:
        await core.close()


async def no_episode(*_: object) -> None: ...


def task_of(trajectory: dict[str, torch.Tensor]) -> RolloutTask:
    return RolloutTask(0, {}, no_episode, version=1, trajectory=trajectory)  # type: ignore[arg-type]


def test_rollout_stats_shorter_sample_of_a_group_padding_counts_neither_as_token_nor_as_version() -> None:
    long = tiny_trajectory(version=1)
    short = {key: value[:, :2] if value.ndim == 2 else value for key, value in tiny_trajectory(version=1).items()}
    group = concat_padded_tensors([long, short])
    assert group["versions"].tolist() == [[-1, 1, 1], [-1, 1, 0]], "the padding has a version"
    row = asyncio.run(exported([task_of(group)], version=3))
    assert row[stat_keys.LAG_MEAN] == row[stat_keys.LAG_MAX] == row[LAG_MIN] == 2
    assert row[OLDEST_VERSION] == 1
    assert row[stat_keys.NUM_INTERRUPTED] == 0


def test_rollout_stats_sequence_of_two_versions_counts_as_interrupted_with_each_token_its_own_lag() -> None:
    trajectory = tiny_trajectory(version=1)
    trajectory["versions"][0, 2] = 2
    row = asyncio.run(exported([task_of(trajectory)], version=3))
    assert (row[LAG_MIN], row[stat_keys.LAG_MEAN], row[stat_keys.LAG_MAX]) == (1, 1.5, 2)
    assert row[stat_keys.NUM_INTERRUPTED] == 1


def test_rollout_stats_groups_of_unlike_sizes_count_tokens_rewards_and_interruptions_of_each() -> None:
    mixed = tiny_trajectory(version=1)
    mixed["versions"][0, 1:] = torch.tensor([1, 2])
    pair = concat_padded_tensors([tiny_trajectory(version=2), mixed])
    single = tiny_trajectory(version=0)
    row = asyncio.run(exported([task_of(pair), task_of(single), task_of(pair)], version=3))
    num_tokens = 2 * (2 + 2) + 2
    assert row[stat_keys.LAG_MEAN] == (2 * (1 + 1 + 2 + 1) + 2 * 3) / num_tokens
    assert (row[LAG_MIN], row[stat_keys.LAG_MAX], row[OLDEST_VERSION]) == (1, 3, 0)
    assert row[stat_keys.NUM_INTERRUPTED] == 2
    assert row[stat_keys.ZERO_VARIANCE_SHARE] == 1.0, "two groups of two equal rewards; a single sample is no group"
