# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The policy-gradient family: one loss, and each published algorithm is a setting of `PPOActorConfig`.

| algorithm | reward_norm (mean / std) | adv_norm | other settings |
|---|---|---|---|
| GRPO | group / group | none | |
| Dr.GRPO | group / none | none | |
| RLOO | group, mean_leave1out / none | none | |
| LitePPO | group / batch | none | |
| REINFORCE++ | none | batch / batch | kl_ctl 1e-3, kl_estimator k1 |
| REINFORCE++ baseline | group / none | batch / batch | kl_ctl 1e-3, kl_estimator k2 |
| DAPO | group / group | none | eps_clip_higher 0.28, overlong_reward_penalty, dynamic_bs with a filter |
| GSPO | group / group | none | importance_sampling_level sequence: also averages the loss over sequences |
| decoupled, TIS, IcePop, KPop | any | any | use_decoupled_loss; rejection_sampling clamp / mask ratio / mask binary_kl |
"""

from areal.utils.lazy import attach

_HERE = "areal.trainer.ppo"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "PPOActor": f"{_HERE}.actor",
        "compute_advantages": f"{_HERE}.advantages",
        "grpo_loss_fn": f"{_HERE}.loss",
        "grpo_loss_weight": f"{_HERE}.loss",
        "split_minibatches": f"{_HERE}.minibatches",
    },
)
