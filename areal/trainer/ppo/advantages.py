# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""From rewards to prediction-aligned advantages: shape, normalise, place, penalise, discount.

Called by `PPOActor.compute_advantages` on the padded batch of one rank. Never changes its input: it returns new tensors.
A rollout batch is token aligned; everything returned here is prediction aligned (index t describes token t + 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from areal.utils.data import to_prediction_alignment
from areal.utils.errors import ConfigError
from areal.utils.functional.gae import gae_padded
from areal.utils.functional.kl import KLEstimator
from areal.utils.functional.normalization import Normalization
from areal.utils.functional.reward_shaping import overlong_penalty, shape_rewards

if TYPE_CHECKING:
    import torch.distributed as dist

    from areal.api.cli_args import PPOActorConfig


def check_algorithm(config: PPOActorConfig) -> None:
    """Refuse combinations that would silently train something else.

    Raises:
        ConfigError: leave-one-out in `adv_norm`, which would leave out single tokens and is not RLOO.
    """
    if config.adv_norm is not None and config.adv_norm.mean_leave1out:
        raise ConfigError(
            "actor.adv_norm.mean_leave1out: expected false, got true; it would leave out one token, not one sample. "
            "For RLOO set actor.reward_norm.mean_leave1out=true"
        )


@torch.no_grad()
def compute_advantages(
    data: dict[str, Tensor],
    config: PPOActorConfig,
    group_sizes: Sequence[int],
    reduce_group: dist.ProcessGroup | None = None,
) -> dict[str, Tensor]:
    """Advantages of one padded batch; a collective over `reduce_group` for batch-level normalisation.

    1. `score = reward_norm(clip((r + overlong_penalty + bias) * scaling))`, 0 if truncated with `mask_no_eos_with_zero`;
    2. `reward_t = score - kl_ctl * KL(π || π_ref)_t`, the score on the last *trained* prediction only (the last
       real token may be a tool's output); 3. GAE; 4. `adv_norm`.

    Args:
        data: rollout batch `[B, S]` with `loss_mask`, `logprobs`, `rewards` `[B]`; where needed `versions`, `turn_ids`,
            `truncated` `[B]`, and prediction aligned `prox_logp`, `ref_logp`, `values`.
        group_sizes: samples of each prompt, consecutive rows.

    Returns:
        The new or re-aligned tensors only, `[B, S]` float32: `loss_mask`, `logprobs` (the policy the ratio starts from),
        `advantages`, `returns`, `kl_rewards`, `tot_rewards`, `prox_logp` where it is known, integer `versions`
        and `turn_ids` (-1 where not trained), and `shaped_rewards` `[B]`.

    Raises:
        ConfigError: `kl_ctl` without `ref_logp`, or a missing tensor that the configuration needs.
    """
    mask_BS = to_prediction_alignment(data["loss_mask"]).bool()
    old_BS, prox_BS = _policy_logprobs(data, config, mask_BS)
    kl_BS = _kl_rewards(data, config, mask_BS, old_BS)

    shaped_B = _shaped_rewards(data, config, mask_BS)
    score_B = shaped_B
    if config.reward_norm is not None:
        # Rows without a trained token (the dummy of a rank without work) must not shift a batch mean.
        normalize = Normalization(config.reward_norm)
        score_B = normalize(shaped_B, mask_BS.any(1), reduce_group=reduce_group, group_sizes=group_sizes)
    if config.mask_no_eos_with_zero:
        score_B = torch.where(_require(data, "truncated", "mask_no_eos_with_zero"), 0.0, score_B)
    reward_BS = kl_BS + place_on_last_trained(score_B, mask_BS)

    values_BS = data.get("values")
    bootstrap_B = None if values_BS is None else _bootstrap(values_BS, mask_BS, _require(data, "truncated", "values"))
    advantages_BS, returns_BS = gae_padded(
        reward_BS, mask_BS, config.discount, config.gae_lambda, values_BS, bootstrap_B
    )
    if config.adv_norm is not None:
        normalize = Normalization(config.adv_norm)
        advantages_BS = normalize(advantages_BS, mask_BS, reduce_group=reduce_group, group_sizes=group_sizes)
    found = {
        "loss_mask": mask_BS.float(),
        "logprobs": old_BS,
        "advantages": advantages_BS,
        "returns": returns_BS,
        "kl_rewards": kl_BS,
        "tot_rewards": reward_BS,
        "shaped_rewards": shaped_B,
    }
    if prox_BS is not None:
        found["prox_logp"] = prox_BS
    return found | _labels_of_trained(data, mask_BS)


def _labels_of_trained(data: dict[str, Tensor], mask_BS: Tensor) -> dict[str, Tensor]:
    """Versions and turns of the trained predictions, -1 elsewhere."""
    names = [name for name in ("versions", "turn_ids") if name in data]
    return {name: torch.where(mask_BS, to_prediction_alignment(data[name]), -1) for name in names}


def place_on_last_trained(score_B: Tensor, mask_BS: Tensor) -> Tensor:
    """`[B, S]` zeros with each score on the last set position of its row; a row without one gets nothing."""
    width = mask_BS.shape[1]
    last_B = width - 1 - mask_BS.flip(1).int().argmax(1)
    placed_B = torch.where(mask_BS.any(1), score_B.float(), 0.0)
    return torch.zeros(mask_BS.shape, device=score_B.device).scatter(1, last_B[:, None], placed_B[:, None])


def _require(data: dict[str, Tensor], name: str, needed_by: str) -> Tensor:
    if name not in data:
        raise ConfigError(
            f"actor.{needed_by} needs {name!r} in every trajectory, got only {sorted(data)}: "
            f"let the workflow or trainer add it, or switch {needed_by} off"
        )
    return data[name]


def _policy_logprobs(data: dict[str, Tensor], config: PPOActorConfig, mask_BS: Tensor) -> tuple[Tensor, Tensor | None]:
    """The policy the importance weights start from, and the proximal one (None: the update's own forward decides)."""
    behave_BS = torch.where(mask_BS, to_prediction_alignment(data["logprobs"]).float(), 0)
    if not config.should_compute_prox_logp():
        return behave_BS, None if config.use_decoupled_loss else behave_BS
    needed_by = "use_decoupled_loss" if config.use_decoupled_loss else "recompute_logprob"
    prox_BS = torch.where(mask_BS, _require(data, "prox_logp", needed_by).float(), 0)
    return (behave_BS if config.use_decoupled_loss else prox_BS), prox_BS


def _kl_rewards(data: dict[str, Tensor], config: PPOActorConfig, mask_BS: Tensor, old_BS: Tensor) -> Tensor:
    """`-kl_ctl * KL(π || π_ref)`; π by the trainer's forward where there is one, like π_ref."""
    if config.kl_ctl == 0:
        return torch.zeros_like(old_BS)
    ref_BS = torch.where(mask_BS, _require(data, "ref_logp", "kl_ctl").float(), 0)
    policy_BS = torch.where(mask_BS, data.get("prox_logp", old_BS).float(), 0)
    return -config.kl_ctl * KLEstimator(config.kl_estimator)(policy_BS, ref_BS)


def _shaped_rewards(data: dict[str, Tensor], config: PPOActorConfig, mask_BS: Tensor) -> Tensor:
    rewards_B = data["rewards"].float()
    if config.overlong_reward_penalty:
        limits = (config.max_new_tokens, config.overlong_tokens, config.overlong_penalty_factor)
        if None in limits:
            raise ConfigError(
                "actor.overlong_reward_penalty needs max_new_tokens, overlong_tokens and overlong_penalty_factor, "
                f"got {limits}: set all three"
            )
        rewards_B = rewards_B + overlong_penalty(mask_BS.sum(1), *limits)
    return shape_rewards(rewards_B, config.reward_bias, config.reward_scaling, config.reward_clip)


def _bootstrap(values_BS: Tensor, mask_BS: Tensor, truncated_B: Tensor) -> Tensor:
    """Value after the last trained token of truncated samples, 0 for finished ones; never judged by the row's width."""
    last_B = values_BS.shape[1] - 1 - mask_BS.flip(1).int().argmax(1)
    after_B = values_BS.float().gather(1, (last_B + 1).clamp(max=values_BS.shape[1] - 1)[:, None])[:, 0]
    return torch.where(truncated_B & mask_BS.any(1), after_B, 0)
