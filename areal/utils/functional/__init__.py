# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Pure mathematics of training: no files, no global state, no statistics recorded; each formula stands in one module."""

from areal.utils.lazy import attach

_HERE = "areal.utils.functional"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "KLEstimator": f"{_HERE}.kl",
        "Normalization": f"{_HERE}.normalization",
        "RejectionSamplingResult": f"{_HERE}.rejection",
        "apply_rejection_sampling": f"{_HERE}.rejection",
        "compute_packed_sft_loss": f"{_HERE}.sft_loss",
        "gae_packed": f"{_HERE}.gae",
        "gae_padded": f"{_HERE}.gae",
        "gather_logprobs": f"{_HERE}.logprobs",
        "gather_logprobs_entropy": f"{_HERE}.logprobs",
        "overlong_penalty": f"{_HERE}.reward_shaping",
        "ppo_actor_loss_fn": f"{_HERE}.ppo_loss",
        "shape_rewards": f"{_HERE}.reward_shaping",
    },
)
