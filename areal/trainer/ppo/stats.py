# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a policy update records: the batch, the loss, the age of the tokens, and the mismatch of log-probs.

Called by `PPOActor` only; records through `stats_tracker` and returns nothing that influences training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from areal.utils import stats_tracker
from areal.utils.functional.kl import KLEstimator
from areal.utils.functional.reduce import all_reduced
from areal.utils.stats_tracker import ReduceType

if TYPE_CHECKING:
    import torch.distributed as dist

    from areal.api.cli_args import PPOActorConfig
    from areal.trainer.ppo.minibatches import Trajectory

SUMMED_TRAIN_STATS = ("loss_weight", "num_micro_batches")
LATEST_TRAIN_STATS = ("lr", "num_skipped_updates")  # a state, or a count since the start


def record_batch_stats(data: list[Trajectory], config: PPOActorConfig, group: dist.ProcessGroup | None) -> None:
    """Sizes, rewards and advantages of the batch in the current scope, and shares under `rollout/`; a collective.

    Trajectories without a trained token (the dummy of a rank without work) are not counted.
    """
    data = [t for t in data if t["loss_mask"].any()]
    rewards = [t.get("original_rewards", t["rewards"]).float() for t in data]
    task_reward = torch.cat(rewards) if rewards else torch.zeros(0)
    stats_tracker.scalar(**{"task_reward/sem": _standard_error(task_reward, group)})
    if not data:
        return
    _record_zero_variance(data)

    per_token = {k: torch.cat([t[k].flatten() for t in data]) for k in ("loss_mask", "advantages", "kl_rewards")}
    trained = per_token.pop("loss_mask").bool()
    per_seq = {
        "task_reward": task_reward,
        "final_reward": torch.cat([t["tot_rewards"].sum(1) for t in data]),
        "seq_len": torch.cat([t["attention_mask"].sum(1) for t in data]).float(),
    }
    response_len = torch.cat([t["loss_mask"].sum(1) for t in data])
    per_seq["prompt_len"] = per_seq["seq_len"] - response_len
    shaped = torch.cat([t["shaped_rewards"] for t in data])
    per_seq["reward_clipped"] = (shaped.abs() >= config.reward_clip).float()
    correct = task_reward > 0

    stats_tracker.denominator(
        n_seqs=torch.ones_like(correct),
        n_tokens=torch.cat([t["attention_mask"].flatten() for t in data]).bool(),
        n_valid_tokens=trained,
        correct_n_seqs=correct,
        incorrect_n_seqs=~correct,
    )
    stats_tracker.stat("n_valid_tokens", **per_token)
    stats_tracker.stat("n_seqs", **per_seq)
    stats_tracker.stat("correct_n_seqs", correct_seq_len=per_seq["seq_len"])
    stats_tracker.stat("incorrect_n_seqs", incorrect_seq_len=per_seq["seq_len"])
    if all("truncated" in t for t in data):
        truncated = torch.cat([t["truncated"] for t in data]).float()
        stats_tracker.stat("n_seqs", no_eos_ratios=truncated)
        _record_rollout_share("truncated_share", truncated)


def record_staleness(data: list[Trajectory], version: int) -> None:
    """Versions between the weights that generated each trained token and those the update starts from.

    Both the tensors and the versions are prediction aligned, and the weights at the start of the update are `version`
    itself, not the next one.
    """
    data = [t for t in data if "versions" in t]
    if not data:
        return
    versions = torch.cat([t["versions"].flatten() for t in data])
    known = torch.cat([t["loss_mask"].flatten() for t in data]).bool() & (versions >= 0)
    lag = (version - versions).float()
    with stats_tracker.scope("update/version_stats"):
        stats_tracker.denominator(n_valid_tokens=known)
        for kind in (ReduceType.AVG, ReduceType.MAX, ReduceType.MIN):
            stats_tracker.stat("n_valid_tokens", kind, **{f"sample_staleness_proximal_{kind.value}": lag})
        stats_tracker.scalar(v_proximal=version)
    with stats_tracker.disable_scope(), stats_tracker.scope("rollout"):
        stats_tracker.denominator(n_lag_tokens=known)
        stats_tracker.stat("n_lag_tokens", ReduceType.AVG, lag_mean=lag)
        stats_tracker.stat("n_lag_tokens", ReduceType.MAX, lag_max=lag)


def record_update_stats(found: dict[str, Tensor], with_behave: bool) -> None:
    """Record the stats of `grpo_loss_fn` for one micro-batch in the current scope, without waiting for the device."""
    new, old, trained = found["new_logp"], found["old_logp"], found["loss_mask"]
    clip, dual_clip = found["clip_mask"], found["dual_clip_mask"]
    stats_tracker.denominator(
        n_tokens=torch.ones_like(trained), n_valid_tokens=trained, clipped_tokens=clip, dual_clipped_tokens=dual_clip
    )
    stats_tracker.stat(
        "n_valid_tokens",
        importance_weight=found["importance_weight"],
        approx_kl=found["approx_kl"],
        new_logp=new,
        old_logp=old,
        entropy=found["entropy"],
        actor_loss=found["loss"],
        clip_ratio=clip.float(),
        dual_clip_ratio=dual_clip.float(),
        logp_diff=new - old,
        logp_abs_diff=(new - old).abs(),
    )
    stats_tracker.stat("clipped_tokens", clipped_new_logp=new, clipped_old_logp=old)
    if with_behave:
        kept = found["behave_mask"]
        stats_tracker.denominator(unclipped_behave_tokens=kept)
        stats_tracker.stat(
            "unclipped_behave_tokens",
            behave_imp_weight=found["behave_imp_weight"],
            behave_approx_kl=found["behave_approx_kl"],
        )
        stats_tracker.stat("n_valid_tokens", behave_filtered_ratio=(trained & ~kept).float())


def record_mismatch(behave: Tensor, trainer: Tensor, mask: Tensor, versions: Tensor, version: int) -> None:
    """Record `invariants/logprobs`: how the engine's log-probs differ from the trainer's for the same weights.

    Over trained tokens generated by exactly `version`, with d = trainer - engine: `mismatch_kl` the mean k3
    `exp(d) - 1 - d`, `mismatch_kl_k1` the mean `-d`, both estimates of KL(engine || trainer); `max_abs_diff` the
    largest |d|. All tensors `[b, L]` or `[T]`, prediction aligned.
    """
    fresh = mask & (versions == version)
    behave, trainer = behave.detach().float(), trainer.detach().float()
    with stats_tracker.disable_scope(), stats_tracker.scope("invariants/logprobs"):
        stats_tracker.denominator(n_tokens=fresh)
        stats_tracker.stat(
            "n_tokens",
            ReduceType.AVG,
            mismatch_kl=KLEstimator("k3", apply_clamp=False)(behave, trainer),
            mismatch_kl_k1=behave - trainer,
        )
        stats_tracker.stat("n_tokens", ReduceType.MAX, max_abs_diff=(trainer - behave).abs())


def merge_train_stats(steps: list[dict[str, float]]) -> dict[str, float]:
    """One dict for several optimizer steps: weights and counts summed, `loss` weighted, states latest, others averaged."""
    merged: dict[str, float] = {}
    for name in steps[0]:
        values = [step[name] for step in steps]
        if name in LATEST_TRAIN_STATS:
            merged[name] = values[-1]
        else:
            merged[name] = sum(values) / (1 if name in SUMMED_TRAIN_STATS else len(values))
    if "loss" in merged and merged["loss_weight"] > 0:
        merged["loss"] = sum(step["loss"] * step["loss_weight"] for step in steps) / merged["loss_weight"]
    return merged


def _record_rollout_share(name: str, flags: Tensor) -> None:
    with stats_tracker.disable_scope(), stats_tracker.scope("rollout"):
        stats_tracker.denominator(**{f"{name}_of": torch.ones_like(flags, dtype=torch.bool)})
        stats_tracker.stat(f"{name}_of", ReduceType.AVG, **{name: flags})


def _record_zero_variance(data: list[Trajectory]) -> None:
    """Count groups of two or more samples with equal shaped rewards: a group-centred reward gives them no gradient.

    Their tokens stay in the denominator of the loss, so that the weight of a sample does not depend on how many such
    groups its batch holds; drop them at the rollout (dynamic filter) to change that.
    """
    flat = torch.stack([(t["shaped_rewards"] == t["shaped_rewards"][0]).all() & (len(t["rewards"]) > 1) for t in data])
    stats_tracker.counter(zero_variance_groups=flat.sum())
    _record_rollout_share("zero_variance_share", flat.float())


def _standard_error(values: Tensor, group: dist.ProcessGroup | None) -> float:
    """Standard error of the mean over all ranks: sqrt(unbiased variance / n), 0 for a single value."""
    values = values.double()
    moments = torch.stack([torch.ones_like(values).sum(), values.sum(), values.square().sum()])
    n, total, squares = all_reduced(moments, group).tolist()
    return (max(squares - total * total / n, 0.0) / (n - 1) / n) ** 0.5 if n > 1 else 0.0
