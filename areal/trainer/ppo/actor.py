# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The policy's side of a training step: log-probs, advantages, optimizer steps.

`PPOActor` runs inside each worker of the actor (and, for `compute_logp`, of the reference); the trainer calls it, and it
calls only the engine. Every rank joins every collective. Never talks to inference servers, never schedules.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from areal.trainer.denominators import record_denominators
from areal.trainer.ppo import stats
from areal.trainer.ppo.advantages import check_algorithm, compute_advantages
from areal.trainer.ppo.loss import grpo_loss_fn, grpo_loss_weight
from areal.trainer.ppo.minibatches import Trajectory, split_minibatches
from areal.utils import stats_tracker
from areal.utils.data import batched_call, to_prediction_alignment
from areal.utils.errors import ConfigError
from areal.utils.functional.reduce import all_reduced

if TYPE_CHECKING:
    from areal.api.cli_args import PPOActorConfig
    from areal.api.engine_api import TrainEngine
    from areal.utils.data import TrajBatchMeta

# Per-token tensors that the loss does not read. Per-sequence ones ([b]) never travel; extra model inputs do.
NOT_FOR_UPDATE = frozenset({"tot_rewards", "kl_rewards", "returns", "values", "ref_logp", "turn_ids"})


class PPOActor:
    """Policy-gradient training of the engine's model; which algorithm is a matter of `config` (see the package)."""

    def __init__(self, config: PPOActorConfig, engine: TrainEngine) -> None:
        check_algorithm(config)
        self.config = config
        self.engine = engine

    def compute_logp(self, data: list[Trajectory]) -> list[Tensor]:
        """Prediction-aligned log-probs of the current weights, `[b, L]` float32 for each trajectory, without gradient."""
        self.engine.eval()
        return self.engine.forward_batch(data)

    def compute_advantages(self, data: list[Trajectory]) -> list[Trajectory]:
        """Trajectories with prediction-aligned training tensors (see `advantages.compute_advantages`); inputs stay as they are.

        Each list item is one group: groups of any size, with members missing, are normalised by their actual members.
        """
        if self.config.should_compute_prox_logp():
            self._record_mismatch_of_rollout(data)
        found = batched_call(self._advantages_of_batch, data, pass_meta=True)
        return [{**trajectory, **new} for trajectory, new in zip(data, found, strict=True)]

    @stats_tracker.scope_func_wrapper("ppo_actor")
    def ppo_update(self, data: list[Trajectory]) -> dict[str, float]:
        """`ppo_n_minibatches` optimizer steps on trajectories from `compute_advantages`.

        Returns:
            The engine's numbers merged over mini-batches (`grad_norm`, `lr`, `loss`, `update_successful`,
            `num_micro_batches`), `loss_weight` (sum of the weights the engine divided by) and `expected_loss_weight`,
            the count of trained tokens (sequences, for the sequence level) taken from the batch itself: the
            denominator invariant says that both are equal.

        Raises:
            ConfigError: no rank has a sample for each mini-batch; raised on all ranks.
        """
        version = self.engine.get_version()
        self._check_num_samples(data)
        stats.record_batch_stats(data, self.config, self.engine.data_parallel_group)
        stats.record_staleness(data, version)
        expected_weight = self._expected_loss_weight(data)

        self.engine.train()
        level = self.config.importance_sampling_level
        steps: list[dict[str, float]] = []
        with stats_tracker.scope("update"):
            for minibatch in split_minibatches(data, self.config.ppo_n_minibatches, seed=version):
                inputs = [_for_update(trajectory) for trajectory in minibatch]
                loss_fn = functools.partial(self._loss, version=version, is_first_step=not steps)
                weight_fn = functools.partial(grpo_loss_weight, importance_sampling_level=level)
                steps.append(self.engine.train_batch(inputs, loss_fn, weight_fn))
                stats_tracker.scalar(**steps[-1])
        merged = stats.merge_train_stats(steps)
        record_denominators(merged["loss_weight"], expected_weight)
        return {**merged, "expected_loss_weight": expected_weight}

    def _advantages_of_batch(self, batch: Trajectory, meta: TrajBatchMeta) -> Trajectory:
        return compute_advantages(batch, self.config, meta.traj_group_sizes, self.engine.data_parallel_group)

    def _loss(
        self, logprobs: Tensor, entropy: Tensor, micro_batch: dict[str, Any], *, version: int, is_first_step: bool
    ) -> Tensor:
        config = self.config
        loss, found = grpo_loss_fn(
            logprobs,
            entropy,
            micro_batch,
            eps_clip=config.eps_clip,
            eps_clip_higher=config.eps_clip_higher,
            c_clip=config.c_clip,
            rejection_sampling=config.rejection_sampling,
            importance_sampling_level=config.importance_sampling_level,
            prox_logp_method=config.prox_logp_method,
            use_decoupled_loss=config.use_decoupled_loss,
        )
        stats.record_update_stats(found, with_behave=config.use_decoupled_loss)
        if is_first_step and not config.should_compute_prox_logp() and "versions" in micro_batch:
            # Before the first step the current policy is the proximal one, so its own forward measures the mismatch.
            stats.record_mismatch(
                micro_batch["logprobs"], logprobs, found["loss_mask"], micro_batch["versions"], version
            )
        return loss

    def _record_mismatch_of_rollout(self, data: list[Trajectory]) -> None:
        version = self.engine.get_version()
        for trajectory in data:
            if "versions" in trajectory and "prox_logp" in trajectory:
                behave, mask, versions = (
                    to_prediction_alignment(trajectory[name]) for name in ("logprobs", "loss_mask", "versions")
                )
                stats.record_mismatch(behave, trajectory["prox_logp"], mask.bool(), versions, version)

    def _check_num_samples(self, data: list[Trajectory]) -> None:
        """A mini-batch needs a sample on some rank at least; the other ranks fill theirs with dummies."""
        local = torch.tensor(sum(len(t["attention_mask"]) for t in data if t["loss_mask"].any()))
        num_samples = int(all_reduced(local, self.engine.data_parallel_group, dist.ReduceOp.MAX))
        if num_samples < self.config.ppo_n_minibatches:
            raise ConfigError(
                f"actor.ppo_n_minibatches: expected at most {num_samples}, the samples with trained tokens of the fullest "
                f"rank, got {self.config.ppo_n_minibatches}; lower it, or raise the batch size"
            )

    def _expected_loss_weight(self, data: list[Trajectory]) -> float:
        level = self.config.importance_sampling_level
        local = torch.stack([grpo_loss_weight(trajectory, level) for trajectory in data]).sum()
        return float(all_reduced(local, self.engine.data_parallel_group))


def _for_update(trajectory: Trajectory) -> Trajectory:
    return {
        name: value
        for name, value in trajectory.items()
        if name not in NOT_FOR_UPDATE and not (isinstance(value, Tensor) and value.ndim == 1)
    }
