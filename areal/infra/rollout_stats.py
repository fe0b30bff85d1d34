# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Statistics of rollouts between two exports: outcomes, staleness at consumption, and what the batches looked like.

The executor feeds it each consumed batch and exports once a step, under the keys of `areal.utils.stat_keys`.
Works on numpy views of the trajectories' CPU tensors and never changes them.
"""

from __future__ import annotations

import numpy as np

from areal.api.engine_api import Trajectory
from areal.infra.consumption import RolloutTask
from areal.infra.rollout_core import RolloutCore
from areal.utils import stat_keys

LAG_MIN = "rollout/lag_min"
TASK_LAG_MEAN = "rollout/task_lag_mean"  # version at consumption - version at admission
OLDEST_VERSION = "rollout/oldest_version"  # of a token trained on since the last export
ERROR_PREFIX = "rollout/error/"  # + cause key: failures so far (a running total)


class RolloutStats:
    """Accumulates over consumed batches; `export` returns plain numbers and starts afresh."""

    def __init__(self) -> None:
        self._last_outcomes: dict[str, int] = {}
        self._reset()

    def on_batch(self, version: int, tasks: list[RolloutTask]) -> None:
        """Record the trajectories consumed at trainer version `version`."""
        trajectories = [task.trajectory for task in tasks if task.trajectory is not None]
        self._task_lags += [version - task.version for task in tasks if task.trajectory is not None]
        versions_BL = [_trained_versions(traj) for traj in trajectories if "versions" in traj]
        if versions_BL:
            self._on_versions(version, versions_BL)
        for rewards_B in (traj["rewards"].numpy() for traj in trajectories if "rewards" in traj):
            self._num_sequences += rewards_B.size
            if rewards_B.size > 1:
                self._num_groups += 1
                self._num_flat_groups += bool((rewards_B == rewards_B[0]).all())
        truncated_B = [traj["truncated"].numpy() for traj in trajectories if "truncated" in traj]
        if truncated_B:
            self._num_truncated += int(np.count_nonzero(np.concatenate(truncated_B)))

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
        if self._task_lags:
            row[TASK_LAG_MEAN] = float(np.mean(self._task_lags))
        if self._num_sequences:
            row[stat_keys.TRUNCATED_SHARE] = self._num_truncated / self._num_sequences
            row[stat_keys.NUM_INTERRUPTED] = self._num_interrupted
        if self._num_groups:
            row[stat_keys.ZERO_VARIANCE_SHARE] = self._num_flat_groups / self._num_groups
        self._reset()
        return row

    def _on_versions(self, version: int, versions_BL: list[np.ndarray]) -> None:
        flat = np.concatenate(versions_BL, axis=None)
        flat = flat[flat >= 0]
        if not flat.size:
            return
        oldest, newest = int(flat.min()), int(flat.max())
        self._lag_sum += version * flat.size - int(flat.sum(dtype=np.int64))
        self._num_tokens += flat.size
        self._lag_max = max(self._lag_max, version - oldest)
        self._lag_min = min(self._lag_min, version - newest)
        self._oldest_version = min(self._oldest_version, oldest)
        if oldest != newest:
            for array in versions_BL:
                first = np.where(array < 0, np.iinfo(array.dtype).max, array).min(axis=1)
                self._num_interrupted += int(np.count_nonzero(first < array.max(axis=1)))

    def _reset(self) -> None:
        self._task_lags: list[int] = []
        self._lag_sum = self._num_tokens = self._lag_max = 0
        self._lag_min = self._oldest_version = 1 << 60
        self._num_sequences = self._num_truncated = self._num_interrupted = 0
        self._num_groups = self._num_flat_groups = 0


def _trained_versions(trajectory: Trajectory) -> np.ndarray:
    """Versions [B, L] with -1 for what is not trained on; padding says 0, which is a version like any other."""
    return np.where(trajectory["loss_mask"].numpy() > 0, trajectory["versions"].numpy(), -1)
