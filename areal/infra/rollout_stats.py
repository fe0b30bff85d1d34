# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Statistics of rollouts between two exports: outcomes, staleness at consumption, and what the batches looked like.

The executor feeds it each consumed batch and exports once a step, under the keys of `areal.utils.stat_keys`.
Works on copies of the trajectories' CPU tensors and never changes them.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

from areal.api.engine_api import Trajectory
from areal.infra.consumption import RolloutTask
from areal.infra.rollout_core import RolloutCore
from areal.utils import stat_keys

LAG_MIN = "rollout/lag_min"
TASK_LAG_MEAN = "rollout/task_lag_mean"  # version at consumption - version at admission
OLDEST_VERSION = "rollout/oldest_version"  # of a token trained on since the last export
ERROR_PREFIX = "rollout/error/"  # + cause key: failures so far (a running total)

_NO_VERSION = np.iinfo(np.int32).max  # larger than any version, in the dtype of trajectories


class RolloutStats:
    """Accumulates over consumed batches; `export` returns plain numbers and starts afresh."""

    def __init__(self) -> None:
        self._last_outcomes: dict[str, int] = {}
        self._reset()

    def on_batch(self, version: int, tasks: list[RolloutTask]) -> None:
        """Record the trajectories consumed at trainer version `version`.

        Trajectories of as many samples are looked at together (as a rule that is the whole batch): the rollout loop waits.
        """
        by_size: dict[int, list[Trajectory]] = {}
        for task in tasks:
            if task.trajectory is not None:
                self._num_tasks += 1
                self._task_lag_sum += version - task.version
                by_size.setdefault(task.trajectory["input_ids"].shape[0], []).append(task.trajectory)
        for size, trajectories in by_size.items():
            if versioned := [traj for traj in trajectories if "versions" in traj]:
                self._on_versions(version, versioned)
            if rewards := [traj["rewards"] for traj in trajectories if "rewards" in traj]:
                self._on_rewards(torch.cat(rewards).view(-1, size).numpy())
            if truncated := [traj["truncated"] for traj in trajectories if "truncated" in traj]:
                self._num_truncated += int(np.count_nonzero(torch.cat(truncated).numpy()))

    def export(self, core: RolloutCore) -> dict[str, float]:
        """Numbers since the last export, and the gauges of now."""
        stat = core.staleness.get_stats()
        outcomes = {outcome.value: num for outcome, num in core.runner.outcomes.items()}
        recent = {key: num - self._last_outcomes.get(key, 0) for key, num in outcomes.items()}
        self._last_outcomes = outcomes
        scored = recent.get("scored", 0)
        row: dict[str, float] = {
            stat_keys.ACCEPTED: scored,
            stat_keys.REJECTED: sum(recent.values()) - scored - recent.get("infra_error", 0),
            stat_keys.QUEUE_DEPTH: core.num_finished(),
            stat_keys.NUM_RUNNING: stat.running,
            stat_keys.GENERATION_S: core.runner.pop_busy_s(),
            stat_keys.LAG_LIMIT: core.staleness.max_staleness,
            **{stat_keys.OUTCOME_PREFIX + key: num for key, num in recent.items()},
            **{ERROR_PREFIX + key: num for key, num in core.failures.counts.items()},
        }
        if self._num_tokens:
            row[stat_keys.LAG_MEAN] = self._lag_sum / self._num_tokens
            row[stat_keys.LAG_MAX], row[LAG_MIN] = self._lag_max, self._lag_min
            row[OLDEST_VERSION] = self._oldest_version
        if self._num_tasks:
            row[TASK_LAG_MEAN] = self._task_lag_sum / self._num_tasks
        if self._num_sequences:
            row[stat_keys.TRUNCATED_SHARE] = self._num_truncated / self._num_sequences
            row[stat_keys.NUM_INTERRUPTED] = self._num_interrupted
        if self._num_groups:
            row[stat_keys.ZERO_VARIANCE_SHARE] = self._num_flat_groups / self._num_groups
        self._reset()
        return row

    def _on_rewards(self, rewards_GB: np.ndarray) -> None:
        self._num_sequences += rewards_GB.size
        if rewards_GB.shape[1] > 1:
            self._num_groups += rewards_GB.shape[0]
            self._num_flat_groups += int(np.count_nonzero((rewards_GB == rewards_GB[:, :1]).all(axis=1)))

    def _on_versions(self, version: int, trajectories: list[Trajectory]) -> None:
        """Lags of the trained tokens of T trajectories of B samples laid side by side [B, N]: a sample is a stretch of a row."""
        widths = [traj["versions"].shape[1] for traj in trajectories]
        versions_BN = torch.cat([traj["versions"] for traj in trajectories], dim=1).numpy()
        is_trained_BN = torch.cat([traj["loss_mask"] for traj in trajectories], dim=1).numpy() > 0
        is_trained_BN &= versions_BN >= 0  # of padding only the loss mask knows: its version is 0, like many another
        num_tokens = int(np.count_nonzero(is_trained_BN))
        if not num_tokens:
            return
        starts = [0, *itertools.accumulate(width for width in widths if width)][:-1]
        oldest_BT = np.minimum.reduceat(np.where(is_trained_BN, versions_BN, _NO_VERSION), starts, axis=1)
        newest_BT = np.maximum.reduceat(np.where(is_trained_BN, versions_BN, -1), starts, axis=1)
        oldest, newest = int(oldest_BT.min()), int(newest_BT.max())
        self._lag_sum += version * num_tokens - int(versions_BN.sum(where=is_trained_BN, dtype=np.int64))
        self._num_tokens += num_tokens
        self._lag_max = max(self._lag_max, version - oldest)
        self._lag_min = min(self._lag_min, version - newest)
        self._oldest_version = min(self._oldest_version, oldest)
        self._num_interrupted += int(np.count_nonzero(oldest_BT < newest_BT))

    def _reset(self) -> None:
        self._num_tasks = self._task_lag_sum = 0
        self._lag_sum = self._num_tokens = self._lag_max = 0
        self._lag_min = self._oldest_version = _NO_VERSION
        self._num_sequences = self._num_truncated = self._num_interrupted = 0
        self._num_groups = self._num_flat_groups = 0
