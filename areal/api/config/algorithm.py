# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the algorithms: normalisation, rejection sampling, the PPO actor."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from areal.api.config.engine import TrainEngineConfig
from areal.api.config.fields import check_fields, setting
from areal.utils.errors import ConfigError

_LEVELS = ("batch", "group", None)


@dataclass
class NormConfig:
    """Centring and scaling of rewards or advantages."""

    mean_level: str | None = setting(
        "batch", "Subtract the mean over the batch, the group, or nothing.", choices=_LEVELS
    )
    mean_leave1out: bool = setting(False, "Exclude each element from its own mean.")
    std_level: str | None = setting(
        "batch", "Divide by the deviation over the batch, the group, or nothing.", choices=_LEVELS
    )
    std_unbiased: bool = setting(True, "Divide the variance by n-1 instead of n.")
    eps: float = setting(1e-5, "Added to the deviation.", ge=0)
    group_size: int = setting(1, "Group size where the data does not say; 1 means gconfig.n_samples.", ge=1)

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass
class RejectionSamplingConfig:
    """Correction for tokens whose sampling policy differs from the training policy.

    The metric compares the proximal policy with the behaviour policy that sampled the token. Independent of
    `use_decoupled_loss`. Bounds are inclusive; None sets no bound.
    """

    level: str = setting("token", "Judge each token, or each sequence as a whole.", choices=("token", "sequence"))
    action: str = setting("mask", "Drop what is out of bounds, or clamp its weight.", choices=("mask", "clamp"))
    metric: str = setting(
        "ratio", "What is compared with the bounds.", choices=("ratio", "kl_k1", "kl_k2", "kl_k3", "binary_kl")
    )
    agg: str = setting("mean", "How a sequence aggregates its tokens.", choices=("sum", "mean", "max"))
    upper: float | None = setting(5.0, "Upper bound of the metric.")
    lower: float | None = setting(None, "Lower bound of the metric.")

    def __post_init__(self) -> None:
        check_fields(self)
        upper, lower = self.upper, self.lower
        if self.action == "clamp" and self.metric != "ratio":
            self._refuse("action", f"clamp only with metric=ratio, got metric={self.metric}", "use action=mask")
        if upper is not None and lower is not None and lower > upper:
            self._refuse("lower", f"lower <= upper, got lower={lower} and upper={upper}", "swap them")
        if self.metric == "ratio" and upper is not None and upper <= 1:
            self._refuse("upper", f"upper > 1 for metric=ratio, got {upper}", "an unchanged token has ratio 1")
        if self.metric == "ratio" and lower is not None and lower <= 0:
            self._refuse("lower", f"lower > 0 for metric=ratio, got {lower}", "use null for no lower bound")
        if self.metric in ("kl_k2", "kl_k3", "binary_kl") and upper is not None and upper <= 0:
            self._refuse("upper", f"upper > 0 for metric={self.metric}, got {upper}", "the metric is never negative")
        if self.level == "token" and self.agg != "mean":
            warnings.warn(f"rejection_sampling.agg={self.agg} has no effect with level=token", stacklevel=3)

    def _refuse(self, name: str, expected: str, advice: str) -> None:
        raise ConfigError(f"{type(self).__name__}.{name}: expected {expected}; {advice}")


@dataclass
class PPOActorConfig(TrainEngineConfig):
    """The trained policy and its loss, from rewards to the clipped objective."""

    ppo_n_minibatches: int = setting(4, "Optimizer steps for each training batch.", ge=1)
    eps_clip: float = setting(0.2, "Clip range of the ratio below 1, and above 1 unless eps_clip_higher is set.", ge=0)
    eps_clip_higher: float | None = setting(None, "Clip range of the ratio above 1; None means eps_clip.", ge=0)
    c_clip: float | None = setting(None, "Dual-clip bound for negative advantages; None switches it off.", gt=1)
    reward_norm: NormConfig | None = setting(None, "Normalisation of sequence rewards.")
    reward_scaling: float = setting(1.0, "Factor on the biased reward.")
    reward_bias: float = setting(0.0, "Added to the reward before scaling.")
    reward_clip: float = setting(20.0, "Bound on the absolute scaled reward.", gt=0)
    overlong_reward_penalty: bool = setting(False, "Lower the reward of answers close to the length limit.")
    overlong_tokens: int | None = setting(None, "Length of the penalised tail.", unit="tokens", ge=1)
    overlong_penalty_factor: float | None = setting(None, "Penalty of an answer at the limit.", ge=0)
    mask_no_eos_with_zero: bool = setting(False, "Give truncated answers an outcome reward of zero.")
    discount: float = setting(1.0, "Discount of future rewards (gamma).", ge=0, le=1)
    gae_lambda: float = setting(1.0, "Decay of the generalised advantage estimate (lambda).", ge=0, le=1)
    adv_norm: NormConfig | None = setting(None, "Normalisation of token advantages.")
    kl_ctl: float = setting(0.0, "Weight of the KL penalty in the reward; above 0 it needs `ref`.", ge=0)
    kl_estimator: str = setting("k1", "Estimator of the KL to the reference.", choices=("k1", "k2", "k3"))
    recompute_logprob: bool = setting(False, "Replace the server's log-probs by the trainer's before the update.")
    use_decoupled_loss: bool = setting(False, "Clip against the policy at the start of the update, not the sampler's.")
    rejection_sampling: RejectionSamplingConfig | None = setting(
        None, "Filter or clamp tokens by how far the sampling policy is; None keeps all with weight 1."
    )
    importance_sampling_level: str = setting(
        "token", "Ratio of each token, or one ratio for a sequence (GSPO).", choices=("token", "sequence")
    )
    prox_logp_method: str = setting(
        "recompute",
        "Proximal log-probs by an extra forward pass, or those of the update itself (one mini-batch only).",
        choices=("recompute", "reuse_train_logp"),
        not_here={
            "loglinear": "the interpolation is not exact; use recompute",
            "metrics": "it compares approximations that this release does not have; use recompute",
        },
    )
    max_new_tokens: int | None = setting(
        None, "Longest answer, for the overlong penalty; None means gconfig.max_new_tokens.", unit="tokens", ge=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.overlong_reward_penalty and None in (self.overlong_tokens, self.overlong_penalty_factor):
            raise ConfigError(
                "PPOActorConfig.overlong_reward_penalty: expected overlong_tokens and overlong_penalty_factor with it, "
                f"got {self.overlong_tokens} and {self.overlong_penalty_factor}; set both (DAPO: 4096 and 1.0)"
            )
        if self.prox_logp_method == "reuse_train_logp" and self.ppo_n_minibatches != 1:
            warnings.warn(
                "prox_logp_method=reuse_train_logp is exact for one mini-batch only; "
                f"ppo_n_minibatches={self.ppo_n_minibatches} becomes 1",
                stacklevel=3,
            )
            self.ppo_n_minibatches = 1

    def should_compute_prox_logp(self) -> bool:
        """Whether the trainer runs a forward pass over the batch before the update."""
        if self.use_decoupled_loss:
            return self.prox_logp_method == "recompute"
        return self.recompute_logprob
