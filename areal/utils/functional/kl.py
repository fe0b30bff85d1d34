# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Estimators of KL(p || q) from the log-probs of tokens sampled from p (Schulman 2020, "Approximating KL divergence").

Called by the KL-regularised rewards and by the mismatch invariant.
"""

from __future__ import annotations

import torch
from torch import Tensor

KL_ESTIMATORS = ("k1", "k2", "k3")
CLAMP = 10.0  # nats per token: one token that q finds impossible must not drown the rest of the batch


class KLEstimator:
    """Per-token KL estimate. With d = log p - log q:

    - k1 = d                 unbiased, high variance, negative at times
    - k2 = d^2 / 2           biased, low variance, never negative
    - k3 = exp(-d) - 1 + d   unbiased, low variance, never negative

    Args:
        kl_estimator: one of `KL_ESTIMATORS`, else `ValueError`.
        apply_clamp: limit the result to [-10, 10].
    """

    def __init__(self, kl_estimator: str = "k1", apply_clamp: bool = True) -> None:
        if kl_estimator not in KL_ESTIMATORS:
            raise ValueError(f"expected kl_estimator to be one of {KL_ESTIMATORS}, got {kl_estimator!r}")
        self.kl_estimator = kl_estimator
        self.apply_clamp = apply_clamp

    def __call__(self, log_probs: Tensor, log_probs_base: Tensor) -> Tensor:
        """Estimate from `log_probs` (p, the sampler) and `log_probs_base` (q), any equal shapes; float32 out."""
        d = log_probs.float() - log_probs_base.float()
        if self.kl_estimator == "k2":
            d = 0.5 * d.square()
        elif self.kl_estimator == "k3":
            d = torch.expm1(-d) + d
        return d.clamp(-CLAMP, CLAMP) if self.apply_clamp else d
