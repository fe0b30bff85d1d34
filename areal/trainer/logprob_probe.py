# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The *log-probs* invariant in asynchronous runs: one short generation under the weights that were just published.

Batches of an asynchronous run hold no token of the current version, so nothing in them can be compared with the trainer's
log-probs. After each sync the RL trainer starts a probe; before the next update the actor scores the same tokens with the
same weights. Both sides agree up to kernels and precision, or something is wrong.
"""

from __future__ import annotations

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

MAX_NEW_TOKENS = 32
"""Enough tokens to see a systematic difference, few enough to cost one request of many."""
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
    """At most one probe in flight. `engine` must be a view with an account of its own."""

    def __init__(self, engine: RemoteInfEngine, gconfig: GenerationHyperparameters) -> None:
        self._engine = engine
        self._workflow = GenerateOnly(
            gconfig.new(n_samples=1, max_new_tokens=min(MAX_NEW_TOKENS, gconfig.max_new_tokens))
        )
        self._task_id: int | None = None

    def start(self, trajectory: Trajectory) -> None:
        """Ask the servers to continue the prompt of `trajectory`; returns at once."""
        num_prompt = int(trajectory["loss_mask"][0].argmax())
        prompt_ids = trajectory["input_ids"][0, :num_prompt].tolist()
        self._task_id = self._engine.submit({"input_ids": prompt_ids}, self._workflow)

    def collect(self, timeout_s: float) -> Trajectory | None:
        """What the started probe gave; None where there was none or it had no answer (that is logged)."""
        if self._task_id is None:
            return None
        task_id, self._task_id = self._task_id, None
        try:
            return self._engine.wait_for_task(task_id, timeout_s)
        except InfraError as error:
            logger.warning("the log-prob probe had no answer, so this step does not measure the mismatch: %s", error)
            return None


def judge_mismatch(row: dict[str, float]) -> None:
    """Add the verdict of the invariant to a row that measured it."""
    if stat_keys.MISMATCH_KL in row:
        row[stat_keys.invariant_ok("logprobs")] = float(row[stat_keys.MISMATCH_KL] < MISMATCH_KL_LIMIT)
