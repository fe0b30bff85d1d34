# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The clipped policy-gradient loss behind PPO, GRPO, DAPO, RLOO, Dr.GRPO, GSPO and the decoupled objective.

Called by `areal.trainer.ppo.loss`. Pure: it returns the loss and what may be logged, and records nothing.
With ρ = π_θ / π_p, A the advantage, w = π_p / π_b (decoupled objective, Fu et al. 2025 (AReaL), eq. 5; 1 if π_p is π_b):
- `l = w * max(-A ρ, -A clip(ρ, 1 - eps_clip, 1 + eps_clip_higher))` (PPO, Schulman et al. 2017, eq. 7; an upper bound
  of its own is DAPO's clip-higher, Yu et al. 2025, eq. 10);
- dual clip (Ye et al. 2020): `l = w * min(max(...), c_clip * |A|)` bounds the loss of A < 0, ρ >> 1;
- sequence level (GSPO, Zheng et al. 2025, eq. 7): ρ is the geometric mean of the ratios of a sequence, A the mean of its
  advantages; so is w without a filter.
Filtered tokens leave the numerator only: the denominator counts tokens (or sequences) before filtering, so the loss does
not depend on how a batch was cut into micro-batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from areal.utils.functional.rejection import apply_rejection_sampling, log_behave_ratio
from areal.utils.functional.segments import Segments

if TYPE_CHECKING:
    from areal.api.cli_args import RejectionSamplingConfig

LEVELS = ("token", "sequence")


def ppo_actor_loss_fn(
    logprobs: Tensor,
    proximal_logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    eps_clip: float,
    loss_mask: Tensor,
    eps_clip_higher: float | None = None,
    c_clip: float | None = None,
    rejection_sampling: RejectionSamplingConfig | None = None,
    importance_sampling_level: str = "token",
    cu_seqlens: Tensor | None = None,
    *,
    use_behave_weight: bool = True,
    reduction: str = "token",
) -> tuple[Tensor, dict[str, Tensor]]:
    """Clipped surrogate with an importance factor for off-policy data; the formulas are in the module docstring.

    Args:
        logprobs: current policy, with gradient; `[B, S]` or packed `[T]`, prediction aligned like all of them.
        proximal_logprobs, old_logprobs: policies at the start of the update and at sampling.
        loss_mask: bool.
        eps_clip_higher: None means `eps_clip`. c_clip: None is off, else > 1.
        rejection_sampling: filter on w; None trains on all tokens.
        cu_seqlens: `[N + 1]`, needed for packed data at sequence level.
        use_behave_weight: multiply by w; independent of the filter.
        reduction: "token" is the mean over tokens, "sequence" the mean over sequences of their token means.

    Returns:
        (loss, stats): the scalar loss, and detached per-token tensors `loss`, `importance_weight`, `approx_kl`,
        `clip_mask`, `dual_clip_mask`, `behave_approx_kl`, `behave_imp_weight`, `behave_mask` with the scalar tensors
        `n_total_tokens`, `n_valid_tokens`, `n_masked_tokens`, `masked_token_ratio`, `filtered_fraction`.

    Raises:
        TypeError: `loss_mask` is not bool. ValueError: an unknown level or reduction, or `c_clip` <= 1.
    """
    _check(loss_mask, c_clip, importance_sampling_level, reduction)
    sequence_level = importance_sampling_level == "sequence"
    segments = Segments(logprobs, cu_seqlens) if sequence_level or reduction == "sequence" else None

    ratio_segments = segments if sequence_level else None

    log_ratio = torch.where(loss_mask, logprobs.float() - proximal_logprobs.detach().float(), 0)
    ratio = _ratio(log_ratio, loss_mask, ratio_segments)
    advantages = advantages.detach().float()
    if sequence_level:
        advantages = segments.spread(segments.mean(advantages, loss_mask))

    log_behave = log_behave_ratio(proximal_logprobs, old_logprobs, loss_mask)
    kept, weight, filtered_fraction = loss_mask, _ratio(log_behave, loss_mask, ratio_segments), log_behave.new_zeros(())
    if rejection_sampling is not None:
        filtered = apply_rejection_sampling(proximal_logprobs, old_logprobs, loss_mask, cu_seqlens, rejection_sampling)
        kept, weight = filtered.loss_mask, filtered.behave_imp_weight
        filtered_fraction = filtered.filtered_fraction

    upper = 1 + (eps_clip if eps_clip_higher is None else eps_clip_higher)
    loss_t, is_clipped, is_dual_clipped = _clipped_surrogate(advantages, ratio, 1 - eps_clip, upper, c_clip)
    if use_behave_weight:
        loss_t = loss_t * weight

    stats = {
        "loss": loss_t,
        "importance_weight": ratio,
        "approx_kl": log_ratio,
        "clip_mask": is_clipped & loss_mask,
        "dual_clip_mask": is_dual_clipped & loss_mask,
        "behave_approx_kl": log_behave,
        "behave_imp_weight": weight,
        "behave_mask": kept,
        "filtered_fraction": filtered_fraction,
        **_counts(loss_mask, kept),
    }
    loss = _reduce(loss_t, kept, loss_mask, segments if reduction == "sequence" else None)
    return loss, {name: value.detach() for name, value in stats.items()}


def _check(loss_mask: Tensor, c_clip: float | None, level: str, reduction: str) -> None:
    if loss_mask.dtype != torch.bool:
        raise TypeError(f"expected a bool loss_mask, got {loss_mask.dtype}: pass loss_mask.bool()")
    if level not in LEVELS or reduction not in LEVELS:
        raise ValueError(
            f"expected importance_sampling_level and reduction to be one of {LEVELS}, got {level!r} and {reduction!r}"
        )
    if c_clip is not None and c_clip <= 1:
        raise ValueError(f"expected c_clip > 1 (dual clip bounds the loss by c_clip * |A|), got {c_clip}")


def _ratio(log_ratio: Tensor, loss_mask: Tensor, segments: Segments | None) -> Tensor:
    """Probability ratio of each token, or the geometric mean of its sequence; 0 outside the mask."""
    if segments is not None:
        log_ratio = segments.spread(segments.mean(log_ratio, loss_mask))
    return torch.where(loss_mask, log_ratio.exp(), 0)


def _clipped_surrogate(
    advantages: Tensor, ratio: Tensor, lower: float, upper: float, c_clip: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of each token, and where the clip and the dual clip decided it."""
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(lower, upper)
    loss_t = torch.maximum(unclipped, clipped)
    is_clipped = unclipped < clipped
    if c_clip is None:
        return loss_t, is_clipped, torch.zeros_like(is_clipped)
    bound = c_clip * advantages.abs()
    return torch.minimum(loss_t, bound), is_clipped, bound < loss_t


def _reduce(loss_t: Tensor, kept: Tensor, loss_mask: Tensor, segments: Segments | None) -> Tensor:
    if segments is None:
        return torch.where(kept, loss_t, 0).sum() / loss_mask.sum().clamp(min=1)
    num_tokens = segments.count(loss_mask)
    per_seq = segments.sum(loss_t, kept) / num_tokens.clamp(min=1)
    return per_seq.sum() / (num_tokens > 0).sum().clamp(min=1)


def _counts(loss_mask: Tensor, kept: Tensor) -> dict[str, Tensor]:
    num_total, num_kept = loss_mask.sum(), kept.sum()
    return {
        "n_total_tokens": num_total,
        "n_valid_tokens": num_kept,
        "n_masked_tokens": num_total - num_kept,
        "masked_token_ratio": (num_total - num_kept) / num_total.clamp(min=1),
    }
