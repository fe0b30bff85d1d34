# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""How far the proximal policy has moved from the behaviour policy, and which tokens are too far to be trained on.

Called by `areal.utils.functional.ppo_loss`. Two independent things: the importance factor pi_p / pi_b of the decoupled
objective (AReaL, Fu et al. 2025, eq. 5), and a filter that masks or clamps it: token mask on the ratio is IcePop, on the
binary KL is KPop, token clamp with an upper bound only is truncated importance sampling (TIS).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from areal.utils.functional.segments import Segments

if TYPE_CHECKING:
    from areal.api.cli_args import RejectionSamplingConfig

BERNOULLI_EPS = 1e-8  # keeps the logs of a binary KL finite for tokens of probability 0 or 1


@dataclass(frozen=True, kw_only=True)
class RejectionSamplingResult:
    """What the filter decided; all tensors have the shape of the log-probs.

    Attributes:
        loss_mask: bool, tokens to train on.
        behave_imp_weight: float32 importance weight pi_p / pi_b of each kept token, 0 elsewhere.
        filtered_fraction: share of the valid tokens that were dropped (mask) or changed (clamp), scalar tensor.
    """

    loss_mask: Tensor
    behave_imp_weight: Tensor
    filtered_fraction: Tensor


def log_behave_ratio(proximal_logprobs: Tensor, old_logprobs: Tensor, loss_mask: Tensor) -> Tensor:
    """log(pi_p / pi_b) in float32, without gradient; 0 outside the mask and where it is not finite."""
    d = proximal_logprobs.detach().float() - old_logprobs.detach().float()
    return torch.where(loss_mask & d.isfinite(), d, 0)


def apply_rejection_sampling(
    proximal_logprobs: Tensor,
    old_logprobs: Tensor,
    loss_mask: Tensor,
    cu_seqlens: Tensor | None,
    config: RejectionSamplingConfig,
) -> RejectionSamplingResult:
    """Filter tokens or sequences whose metric lies outside `[lower, upper]` (inclusive; no lower bound when None).

    Metric of a token, with d = log pi_p - log pi_b: ratio `e^d`; kl_k1 `d`; kl_k2 `d^2 / 2`; kl_k3 `e^-d - 1 + d`;
    binary_kl the larger of the two directed KLs between Bernoulli(pi_p) and Bernoulli(pi_b).
    - token level: `mask` drops a token that is out of bounds, `clamp` (ratio only) limits its weight to the bounds.
    - sequence level: the metric is aggregated by `agg` (sum, mean, max; the ratio in log space). `mask` drops the whole
      sequence. With the ratio metric each token weighs the aggregated ratio of its sequence, which `clamp` limits;
      with a KL metric tokens keep their own weights.

    Args:
        proximal_logprobs, old_logprobs: `[B, S]` or packed `[T]`, prediction aligned.
        loss_mask: bool, same shape.
        cu_seqlens: `[N + 1]`, needed for packed data at sequence level.

    Raises:
        ValueError: shapes differ, or packed data without `cu_seqlens` at sequence level.
    """
    if not proximal_logprobs.shape == old_logprobs.shape == loss_mask.shape:
        raise ValueError(
            "expected equal shapes, got proximal_logprobs "
            f"{tuple(proximal_logprobs.shape)}, old_logprobs {tuple(old_logprobs.shape)}, "
            f"loss_mask {tuple(loss_mask.shape)}"
        )
    log_ratio = log_behave_ratio(proximal_logprobs, old_logprobs, loss_mask)
    if config.level == "sequence":
        segments = Segments(log_ratio, cu_seqlens)
        metric, weight = _sequence_metric(log_ratio, proximal_logprobs, old_logprobs, loss_mask, segments, config)
    else:
        metric = _token_metric(config.metric, log_ratio, proximal_logprobs, old_logprobs)
        weight = log_ratio.exp()

    outside = metric > config.upper
    if config.lower is not None:
        outside |= metric < config.lower
    outside &= loss_mask
    if config.action == "clamp":
        kept = loss_mask
        weight = weight.clamp(min=config.lower or 0.0, max=config.upper)
    else:
        kept = loss_mask & ~outside
    return RejectionSamplingResult(
        loss_mask=kept,
        behave_imp_weight=torch.where(kept, weight, 0),
        filtered_fraction=outside.sum() / loss_mask.sum().clamp(min=1),
    )


def _token_metric(metric: str, log_ratio: Tensor, proximal_logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    if metric == "ratio":
        return log_ratio.exp()
    if metric == "kl_k1":
        return log_ratio
    if metric == "kl_k2":
        return 0.5 * log_ratio.square()
    if metric == "kl_k3":
        return torch.expm1(-log_ratio) + log_ratio
    if metric == "binary_kl":
        p = _bernoulli(proximal_logprobs)
        b = _bernoulli(old_logprobs)
        return torch.maximum(_bernoulli_kl(p, b), _bernoulli_kl(b, p))
    raise ValueError(f"expected metric ratio, kl_k1, kl_k2, kl_k3 or binary_kl, got {metric!r}")


def _bernoulli(logprobs: Tensor) -> Tensor:
    # float64: 1 - 1e-8 is 1 in float32, and its log would be -inf
    return logprobs.detach().double().exp().clamp(BERNOULLI_EPS, 1 - BERNOULLI_EPS)


def _bernoulli_kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).float()


def _sequence_metric(
    log_ratio: Tensor,
    proximal_logprobs: Tensor,
    old_logprobs: Tensor,
    loss_mask: Tensor,
    segments: Segments,
    config: RejectionSamplingConfig,
) -> tuple[Tensor, Tensor]:
    """Metric and importance weight of each token, where the metric is that of its sequence."""
    aggregate = {"sum": segments.sum, "mean": segments.mean, "max": segments.max}[config.agg]
    if config.metric == "ratio":
        ratio = segments.spread(aggregate(log_ratio, loss_mask)).exp()
        return ratio, ratio
    per_token = _token_metric(config.metric, log_ratio, proximal_logprobs, old_logprobs)
    return segments.spread(aggregate(per_token, loss_mask)), log_ratio.exp()
