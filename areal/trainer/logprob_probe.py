# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The *log-probs* invariant in asynchronous runs: one short generation under the weights that were just published.

Batches of an asynchronous run hold no token of the current version, so nothing in them can be compared with the trainer's
log-probs. After each sync the RL trainer starts a probe; before the next update the actor scores the same tokens with the
same weights. Both sides agree up to kernels and precision, or something is wrong.
"""

from __future__ import annotations

import time
from typing import Any

from areal.api.cli_args import GenerationHyperparameters
from areal.api.engine_api import InferenceEngine, Trajectory
from areal.api.io_struct import ModelRequest
from areal.api.workflow_api import RolloutWorkflow
from areal.infra.remote_inf_engine import RemoteInfEngine
from areal.utils import stat_keys
from areal.utils.errors import InfraError
from areal.utils.logging import getLogger
from areal.workflow.rlvr import build_trajectory

logger = getLogger("probe")

NUM_PROMPTS = 8
MAX_NEW_TOKENS = 4
"""Together 32 log-probs, from prefill and from decoding, in the time of four decoding steps."""
DEADLINE_S = 0.5
"""The trainer waits no longer: with every slot of the servers taken, a probe queues behind whole answers."""
MISMATCH_KL_LIMIT = 0.015
"""Mean k3 above which trainer and engine do not run the same model: the usual gate for a new model family."""


class GenerateOnly(RolloutWorkflow):
    """One generation without a reward."""

    def __init__(self, gconfig: GenerationHyperparameters) -> None:
        self._gconfig = gconfig

    async def arun_episode(self, engine: InferenceEngine, data: dict[str, Any]) -> Trajectory:
        """Continue `data["input_ids"]`; the reward of the trajectory is 0 and means nothing."""
        response = await engine.agenerate(ModelRequest(input_ids=data["input_ids"], gconfig=self._gconfig))
        return build_trajectory(response, 0.0)


class LogprobProbe:
    """One probe in flight at most. `engine` must be a view with an account of its own."""

    def __init__(self, engine: RemoteInfEngine, gconfig: GenerationHyperparameters) -> None:
        self._engine = engine
        self._workflow = GenerateOnly(
            gconfig.new(n_samples=1, max_new_tokens=min(MAX_NEW_TOKENS, gconfig.max_new_tokens))
        )
        self._task_ids: list[int] = []

    def start(self, trajectories: list[Trajectory]) -> None:
        """Ask the servers to continue prompts of `trajectories`; returns at once."""
        if self._task_ids:
            return  # the last one still runs; `collect` takes it first
        for trajectory in trajectories[:NUM_PROMPTS]:
            num_prompt = int(trajectory["loss_mask"][0].argmax())
            prompt_ids = trajectory["input_ids"][0, :num_prompt].tolist()
            self._task_ids.append(self._engine.submit({"input_ids": prompt_ids}, self._workflow))

    def collect(self) -> list[Trajectory]:
        """What the started probe gave; empty where there was none, or where it is late (then it goes on)."""
        deadline_s = time.monotonic() + DEADLINE_S
        found = []
        try:
            while self._task_ids:
                remaining_s = max(deadline_s - time.monotonic(), 0.0)
                trajectory = self._engine.wait_for_task(self._task_ids[0], remaining_s)
                self._task_ids.pop(0)
                if trajectory is not None:
                    found.append(trajectory)
        except InfraError as error:
            logger.info("this step does not measure the log-prob mismatch: %s", error)
        return found


def judge_mismatch(row: dict[str, float]) -> None:
    """Add the verdict of the invariant to a row that measured it."""
    if stat_keys.MISMATCH_KL in row:
        row[stat_keys.invariant_ok("logprobs")] = float(row[stat_keys.MISMATCH_KL] < MISMATCH_KL_LIMIT)
