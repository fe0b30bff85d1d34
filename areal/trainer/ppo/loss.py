# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of one micro-batch and its weight, for `TrainEngine.train_batch`.

Called by `PPOActor.ppo_update`. Pure: the caller records the returned statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from areal.utils.functional.ppo_loss import ppo_actor_loss_fn
from areal.utils.functional.segments import Segments

if TYPE_CHECKING:
    from areal.api.cli_args import RejectionSamplingConfig


def grpo_loss_fn(
    logprobs: Tensor,
    entropy: Tensor,
    input_data: dict[str, Any],
    eps_clip: float,
    eps_clip_higher: float | None = None,
    c_clip: float | None = None,
    rejection_sampling: RejectionSamplingConfig | None = None,
    importance_sampling_level: str = "token",
    prox_logp_method: str = "recompute",
    use_decoupled_loss: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Clipped policy-gradient loss of a packed micro-batch: the mean over its own `grpo_loss_weight`.

    Args:
        logprobs, entropy: `[T]` of the current policy, prediction aligned; only logprobs carries the gradient.
        input_data: `loss_mask`, `logprobs` (π_b, or π_p recomputed), `advantages`, `prox_logp` `[T]`, `cu_seqlens`.
        prox_logp_method: "reuse_train_logp" takes π_p = π_θ without gradient when `prox_logp` is absent, so the ratio is
            exactly 1; right for the first optimizer step after the update started only.
        others: see `ppo_actor_loss_fn`.

    Returns:
        (loss, stats): the stats of `ppo_actor_loss_fn` with `new_logp`, `old_logp`, `entropy` and `loss_mask` `[T]`.

    Raises:
        ValueError: `prox_logp` is missing.
    """
    loss_mask = input_data["loss_mask"].bool()
    old_logp = input_data["logprobs"]
    loss, stats = ppo_actor_loss_fn(
        logprobs=logprobs,
        proximal_logprobs=_proximal_logprobs(logprobs, input_data, prox_logp_method, use_decoupled_loss),
        old_logprobs=old_logp,
        advantages=input_data["advantages"],
        eps_clip=eps_clip,
        loss_mask=loss_mask,
        eps_clip_higher=eps_clip_higher,
        c_clip=c_clip,
        rejection_sampling=rejection_sampling,
        importance_sampling_level=importance_sampling_level,
        cu_seqlens=input_data.get("cu_seqlens"),
        reduction=importance_sampling_level,
    )
    return loss, {
        **stats,
        "new_logp": logprobs.detach().float(),
        "old_logp": old_logp.float(),
        "entropy": entropy.detach().float(),
        "loss_mask": loss_mask,
    }


def grpo_loss_weight(input_data: dict[str, Any], importance_sampling_level: str = "token") -> Tensor:
    """What the loss of a micro-batch is a mean over: trained tokens, or sequences that have one (sequence level).

    The engine weights micro-batches and ranks by it, which makes the whole loss one exact mean over the mini-batch.
    """
    loss_mask = input_data["loss_mask"].bool()
    if importance_sampling_level == "token":
        return loss_mask.sum()
    return (Segments(loss_mask, input_data.get("cu_seqlens")).count(loss_mask) > 0).sum()


def _proximal_logprobs(
    logprobs: Tensor, input_data: dict[str, Any], prox_logp_method: str, use_decoupled_loss: bool
) -> Tensor:
    if "prox_logp" in input_data:
        return input_data["prox_logp"]
    if not use_decoupled_loss:
        return input_data["logprobs"]
    if prox_logp_method == "reuse_train_logp":
        return logprobs.detach()
    raise ValueError(
        f"expected prox_logp in the batch for use_decoupled_loss with prox_logp_method={prox_logp_method!r}, got "
        f"{sorted(input_data)}: run PPOActor.compute_logp before compute_advantages"
    )
