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

from areal.utils.functional.rejection import RejectionSamplingResult, apply_rejection_sampling, log_behave_ratio
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
        loss_mask: bool. eps_clip_higher: None means `eps_clip`. c_clip: None is off, else > 1.
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
    advantages = _of_level(advantages.detach().float(), loss_mask, ratio_segments)
    log_behave = log_behave_ratio(proximal_logprobs, old_logprobs, loss_mask)
    filtered = _unfiltered(log_behave, loss_mask, ratio_segments)
    if rejection_sampling is not None:
        filtered = apply_rejection_sampling(proximal_logprobs, old_logprobs, loss_mask, cu_seqlens, rejection_sampling)
    bounds = (1 - eps_clip, 1 + (eps_clip if eps_clip_higher is None else eps_clip_higher))
    loss_t, clips = _clipped_surrogate(advantages, ratio, bounds, c_clip)
    if use_behave_weight:
        loss_t = loss_t * filtered.behave_imp_weight
    stats = {
        "loss": loss_t,
        "importance_weight": ratio,
        "approx_kl": log_ratio,
        "behave_approx_kl": log_behave,
        **{name: mask & loss_mask for name, mask in clips.items()},
        **_filter_stats(filtered, loss_mask),
    }
    loss = _reduce(loss_t, filtered.loss_mask, loss_mask, segments if reduction == "sequence" else None)
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
    return torch.where(loss_mask, _of_level(log_ratio, loss_mask, segments).exp(), 0)


def _of_level(x: Tensor, loss_mask: Tensor, segments: Segments | None) -> Tensor:
    """Each token's own value, or the mean of its sequence."""
    return x if segments is None else segments.spread(segments.mean(x, loss_mask))


def _clipped_surrogate(
    advantages: Tensor, ratio: Tensor, bounds: tuple[float, float], c_clip: float | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of each token, and where the clip and the dual clip decided it."""
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(*bounds)
    loss_t = torch.maximum(unclipped, clipped)
    clips = {"clip_mask": unclipped < clipped, "dual_clip_mask": torch.zeros_like(ratio, dtype=torch.bool)}
    if c_clip is None:
        return loss_t, clips
    limit = c_clip * advantages.abs()
    return torch.minimum(loss_t, limit), clips | {"dual_clip_mask": limit < loss_t}


def _reduce(loss_t: Tensor, kept: Tensor, loss_mask: Tensor, segments: Segments | None) -> Tensor:
    if segments is None:
        return torch.where(kept, loss_t, 0).sum() / loss_mask.sum().clamp(min=1)
    num_tokens = segments.count(loss_mask)
    per_seq = segments.sum(loss_t, kept) / num_tokens.clamp(min=1)
    return per_seq.sum() / (num_tokens > 0).sum().clamp(min=1)


def _unfiltered(log_behave: Tensor, loss_mask: Tensor, segments: Segments | None) -> RejectionSamplingResult:
    """What the filter decides where there is none: all tokens, with their importance weights."""
    return RejectionSamplingResult(
        loss_mask=loss_mask,
        behave_imp_weight=_ratio(log_behave, loss_mask, segments),
        filtered_fraction=log_behave.new_zeros(()),
    )


def _filter_stats(filtered: RejectionSamplingResult, loss_mask: Tensor) -> dict[str, Tensor]:
    num_total, num_kept = loss_mask.sum(), filtered.loss_mask.sum()
    return {
        "behave_imp_weight": filtered.behave_imp_weight,
        "behave_mask": filtered.loss_mask,
        "filtered_fraction": filtered.filtered_fraction,
        "n_total_tokens": num_total,
        "n_valid_tokens": num_kept,
        "n_masked_tokens": num_total - num_kept,
        "masked_token_ratio": (num_total - num_kept) / num_total.clamp(min=1),
    }
