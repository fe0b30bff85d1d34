# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation of the policy on held-out data, greedily and by sampling: the two differ by tens of points.

The RL trainer calls it between steps; training rollouts go on meanwhile, on their own account. Keeps the measurement
before training (the baseline) across restarts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from areal.api.cli_args import GenerationHyperparameters
from areal.api.engine_api import InferenceEngine, Trajectory
from areal.api.workflow_api import WorkflowLike
from areal.utils import stat_keys, stats_tracker
from areal.utils.dataloader import SampleLoader
from areal.utils.logging import getLogger

logger = getLogger("evaluation")


@dataclass(frozen=True, kw_only=True)
class EvalTask:
    """What one evaluation runs: a workflow on validation data."""

    loader: SampleLoader
    workflow: WorkflowLike
    workflow_kwargs: dict[str, Any]
    gconfig: GenerationHyperparameters

    def kwargs_with(self, gconfig: GenerationHyperparameters) -> dict[str, Any]:
        """The workflow's arguments, with `gconfig` in place of the training one where the workflow takes one."""
        replaced = {"gconfig": gconfig} if "gconfig" in self.workflow_kwargs else {}
        return {**self.workflow_kwargs, **replaced}


class Evaluation:
    """Mean reward on held-out data; remembers that of the untrained policy and the last, and the version of the last."""

    def __init__(self) -> None:
        self.baseline: dict[str, float] = {}
        self.latest: dict[str, float] = {}
        self.measured_at: int | None = None

    def measure(self, engine: InferenceEngine, task: EvalTask, version: int) -> dict[str, float]:
        """Run `task` on weights `version`, greedily (one sample a problem) and by sampling (`gconfig.n_samples` each).

        Returns the mean rewards with their numbers of samples, and what the workflow recorded meanwhile.
        """
        items = [item for batch in task.loader for item in batch]
        greedy = task.gconfig.new(greedy=True, n_samples=1)
        runs = (
            (greedy, stat_keys.EVAL_GREEDY, stat_keys.EVAL_GREEDY_COUNT),
            (task.gconfig, stat_keys.EVAL_SAMPLED, stat_keys.EVAL_SAMPLED_COUNT),
        )
        found: dict[str, float] = {}
        for gconfig, key, count_key in runs:
            trajectories = engine.rollout_batch(
                items,
                task.workflow,
                task.kwargs_with(gconfig),
                group_size=gconfig.n_samples,
                drop_incomplete_group=gconfig.drop_incomplete_group,
            )
            found[key], found[count_key] = mean_reward(trajectories)
            missing = len(items) - len(trajectories)
            if missing:
                logger.warning("%d of %d problems gave no result and are left out of %s", missing, len(items), key)
        self.latest, self.measured_at = found, version
        logger.info(
            "version %d on %d held-out problems: %.1f %% greedy, %.1f %% sampled",
            version,
            len(items),
            100 * found[stat_keys.EVAL_GREEDY],
            100 * found[stat_keys.EVAL_SAMPLED],
        )
        if version == 0:
            self.baseline = found
        recorded = stats_tracker.get("eval-rollout").export()
        recorded.pop(stat_keys.EVAL_REWARD, None)  # the mean over both decodings says nothing
        return recorded | found

    def summary(self) -> dict[str, Any]:
        """Accuracies for the summary of a run: before training and at its end, greedy and sampled."""
        measured = {"accuracy_before": self.baseline, "accuracy_after": self.latest}
        return {
            when: {
                "greedy": found[stat_keys.EVAL_GREEDY],
                "sampled": found[stat_keys.EVAL_SAMPLED],
                "num_problems": int(found[stat_keys.EVAL_GREEDY_COUNT]),
            }
            for when, found in measured.items()
            if found
        }

    def state_dict(self) -> dict[str, Any]:
        """Both measurements."""
        return {"baseline": self.baseline, "latest": self.latest, "measured_at": self.measured_at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.baseline = state["baseline"]
        self.latest = state["latest"]
        self.measured_at = state["measured_at"]


def mean_reward(trajectories: list[Trajectory]) -> tuple[float, float]:
    """Mean reward over samples and their number; (nan, 0) without any."""
    rewards = [reward for trajectory in trajectories for reward in trajectory["rewards"].tolist()]
    return (sum(rewards) / len(rewards), float(len(rewards))) if rewards else (math.nan, 0.0)
