# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The exact names of the per-step statistics that the step line and `areal report` read, and the files they live in.

Trainers commit these keys with `StatsLogger.commit`; `areal.utils.progress` and `areal.cli.report` read them.
Every key is optional for the readers: a missing one leaves its field or plot out, never stops a run or a report.
A key ends in its unit where it has one (`_s`, `_bytes`); a `_share` lies in [0, 1].
Steps are zero based everywhere: `global_step` 12 is the 13th update, its policy is version 13.
This module must never import anything: the report reads it without torch.
"""

from __future__ import annotations

# ---------------------------------------------------------------------------------------------------------------------
# Files of a run: paths relative to RUN_DIR = names.log_dir(fileroot, experiment, trial)
# ---------------------------------------------------------------------------------------------------------------------
CONFIG_FILE = "config.yaml"  # resolved config, secrets redacted: `areal.api.config.save.save_config` writes it
STATS_FILE = "stats.jsonl"  # one flat JSON object a step: `StatsLogger` appends it
SUMMARY_FILE = "summary.json"  # `StatsLogger.write_summary(**fields)` writes it when the run ends, also by an error
ROLLOUT_DIR = "rollouts"  # `rollout_dump.dump_step` writes rollouts/step_000012.jsonl
TRACE_DIR = "perf_tracer"  # `perf_tracer.save` appends perf_tracer/<role>/traces-r<rank>.jsonl
REPORT_FILE = "report.html"  # `areal report RUN_DIR` writes it

# Fields of SUMMARY_FILE. All optional; what is missing is derived from the other files where that is possible.
SUMMARY_FIELDS = (
    "status",  # "finished" | "failed" | "interrupted"
    "cause",  # one sentence when not finished
    "started_unix_s",
    "wall_s",
    "num_steps",
    "num_trained_tokens",  # the loss mask selects them
    "tokens_per_s",  # this and the shares below: see areal.utils.run_totals
    "seed",
    "model",
    "num_parameters",
    "accuracy_before",  # of the held-out problems: {"greedy", "sampled", "num_problems"}
    "accuracy_after",
    "trainer_wait_share",  # of the steps' time, evaluations apart: the trainer waited for rollouts
    "overlap_share",  # of the rest of that time: rollouts were in flight
    "version_info",  # dict of package versions
)

# ---------------------------------------------------------------------------------------------------------------------
# Written by StatsLogger itself into each row (the trainer does not commit these)
# ---------------------------------------------------------------------------------------------------------------------
GLOBAL_STEP = "global_step"  # zero based
EPOCH = "epoch"
EPOCH_STEP = "epoch_step"
UNIX_TIME_S = "unix_time_s"

# ---------------------------------------------------------------------------------------------------------------------
# Time of a step, seconds. `stats_tracker.record_timing("rollout")` records "timeperf/rollout".
# ---------------------------------------------------------------------------------------------------------------------
STEP_S = "timeperf/step"  # wall time of the whole step; the phases below lie inside it
ROLLOUT_S = "timeperf/rollout"  # trainer blocked in prepare_batch: printed as `wait`
GENERATION_S = (
    "rollout/generation_s"  # wall time of this step with a generation in flight (overlaps): printed as `roll`
)
TRAIN_PHASES_S = (  # their sum is printed as `train`; commit those that ran
    "timeperf/recompute_logp",
    "timeperf/ref_logp",
    "timeperf/teacher_logp",
    "timeperf/critic_values",
    "timeperf/compute_advantage",
    "timeperf/train_step",
    "timeperf/critic_train_step",
)
CHECK_PHASES_S = (  # what the invariants cost; their sum is printed as `check` when >= 0.05 s
    "timeperf/collect_probe",  # trainer blocked on the servers' answer to the log-prob probe
    "timeperf/score_probe",
    "timeperf/check_tokens",
)
SYNC_S = "timeperf/update_weights"  # printed as `sync`
SAVE_PHASES_S = (  # their sum is printed as `save` when >= 0.05 s
    "timeperf/save",
    "timeperf/checkpoint_for_recover",
    "timeperf/record_samples",
    "timeperf/dump_samples",
)
EVAL_S = "timeperf/eval"  # printed as `eval` when the step evaluated

# Names of the perf_tracer spans the time line is drawn from. Trainer phases carry the timing key's last part, so that
# `stats_tracker.record_timing(n)` and `perf_tracer.trace_scope(n)` take the same n; the step span has args={"step": i}.
SPAN_STEP = "step"
SPAN_WAIT = "rollout"  # trainer blocked in prepare_batch
SPAN_TRAIN = tuple(key.removeprefix("timeperf/") for key in TRAIN_PHASES_S)
SPAN_CHECK = tuple(key.removeprefix("timeperf/") for key in CHECK_PHASES_S)
SPAN_SYNC = "update_weights"
SPAN_SAVE = tuple(key.removeprefix("timeperf/") for key in SAVE_PHASES_S)
SPAN_EVAL = "eval"
SPAN_GENERATE = "generate"  # session phase: one generation request of a sample, as the client sees it
SPAN_REWARD = "reward"  # session phase: one reward call of a sample
SPAN_SERVE = "serve"  # an inference server had sequences to step, from the first to the last or to a pause
SPAN_LOAD = "load_weights"  # an inference server read and took new weights

# ---------------------------------------------------------------------------------------------------------------------
# Learning
# ---------------------------------------------------------------------------------------------------------------------
VERSION = "version"  # number of optimizer updates behind the policy after this step
REWARD = "ppo_actor/task_reward/avg"  # unshaped reward, mean over the sequences trained on
REWARD_SEM = "ppo_actor/task_reward/sem"  # standard error of that mean: std over sequences / sqrt(n)
REWARD_ROLLOUT = "rollout/reward"  # mean over finished episodes: stands in for REWARD where that is missing
ENTROPY = "ppo_actor/update/entropy/avg"  # nats per trained token
LOSS = "ppo_actor/update/actor_loss/avg"
GRAD_NORM = "ppo_actor/update/grad_norm"  # before clipping
LEARNING_RATE = "ppo_actor/update/lr"
CLIP_SHARE = "ppo_actor/update/clip_ratio/avg"
RATIO_MIN = "ppo_actor/update/importance_weight/min"  # current / proximal probability
RATIO_MEAN = "ppo_actor/update/importance_weight/avg"
RATIO_MAX = "ppo_actor/update/importance_weight/max"
SEQ_LEN = "ppo_actor/seq_len/avg"  # tokens, prompt included
PROMPT_LEN = "ppo_actor/prompt_len/avg"  # response length is derived: SEQ_LEN - PROMPT_LEN
SFT_LOSS = "sft/loss/avg"  # supervised runs
SFT_PPL = "sft/ppl/avg"
SFT_EVAL_LOSS = "sft-eval/loss/avg"  # on the validation set

# ---------------------------------------------------------------------------------------------------------------------
# Rollouts
# ---------------------------------------------------------------------------------------------------------------------
LAG_MEAN = "rollout/lag_mean"  # mean over trained tokens of (trainer version - token version), at consumption
LAG_MAX = "rollout/lag_max"
LAG_LIMIT = "rollout/lag_limit"  # config.rollout.max_head_offpolicyness
ACCEPTED = "rollout/accepted"  # episodes accepted since the last step (a sum)
REJECTED = "rollout/rejected"
OUTCOME_PREFIX = "rollout/outcome/"  # + Outcome value: episodes since the last step (sums)
TRUNCATED_SHARE = "rollout/truncated_share"  # of the sequences trained on: stopped by length
ZERO_VARIANCE_SHARE = "rollout/zero_variance_share"  # of the groups trained on: all rewards equal, hence no gradient
NUM_INTERRUPTED = "rollout/interrupted"  # sequences whose tokens come from more than one version
QUEUE_DEPTH = "rollout/queue_depth"  # completed, not yet consumed episodes, when the step ends
NUM_RUNNING = "rollout/running"  # episodes in flight when the step ends

# Evaluation: the two decodings differ by tens of points, so both are reported when both ran.
EVAL_GREEDY = "eval-rollout/greedy/reward"
EVAL_GREEDY_COUNT = "eval-rollout/greedy/n"  # samples behind the mean: gives the error band
EVAL_SAMPLED = "eval-rollout/sampled/reward"
EVAL_SAMPLED_COUNT = "eval-rollout/sampled/n"
EVAL_KEYS = {"greedy": (EVAL_GREEDY, EVAL_GREEDY_COUNT), "sampled": (EVAL_SAMPLED, EVAL_SAMPLED_COUNT)}
EVAL_REWARD = "eval-rollout/reward"  # a run with one eval only may commit this one

# ---------------------------------------------------------------------------------------------------------------------
# Throughput and memory
# ---------------------------------------------------------------------------------------------------------------------
NUM_TRAINED_TOKENS = "ppo_actor/n_valid_tokens"  # sum over the batch: loss_mask > 0
SFT_NUM_TRAINED_TOKENS = "sft/n_valid_tokens"  # the same, of supervised runs
TOKENS_PER_S = "throughput/tokens_per_s"  # trained sequences' tokens (prompt + response) of the step / STEP_S
GENERATED_TOKENS_PER_S = "throughput/generated_tokens_per_s"
RSS_PREFIX = "memory/"  # + role + RSS_SUFFIX, see `rss_key`: memory/controller_rss_bytes, trainer, servers
RSS_SUFFIX = "_rss_bytes"

# ---------------------------------------------------------------------------------------------------------------------
# The five invariants. `invariants/<name>/ok` is 1.0 (held), 0.0 (broken) in every step in which it was measured, and
# absent where it was not. The measure beside it says by how much.
# ---------------------------------------------------------------------------------------------------------------------
INVARIANTS = ("tokens", "weights", "logprobs", "denominators", "data_order")
MISMATCH_KL = (
    "invariants/logprobs/mismatch_kl"  # mean k3 = exp(d) - 1 - d, d = trainer - engine log-prob, lag-0 tokens only
)
MISMATCH_MAX = "invariants/logprobs/max_abs_diff"  # largest |d| of the same tokens
INVARIANT_MEASURES = {
    "tokens": "invariants/tokens/mismatches",  # ids that differ between the engine's reply and the training batch
    "weights": "invariants/weights/mismatches",  # servers whose checksum differs from the trainer's after a sync
    "logprobs": MISMATCH_KL,
    "denominators": "invariants/denominators/rel_error",  # |sum of micro-batch weights - global weight| / global weight
    "data_order": "invariants/data_order/violations",  # samples repeated or skipped so far
}


def rss_key(role: str) -> str:
    """Key of the resident memory of all processes of a role, in bytes."""
    return f"{RSS_PREFIX}{role}{RSS_SUFFIX}"


def invariant_ok(name: str) -> str:
    """Key of the pass (1.0) / fail (0.0) flag of one of `INVARIANTS`."""
    if name not in INVARIANTS:
        raise ValueError(f"expected an invariant of {INVARIANTS}, got {name!r}")
    return f"invariants/{name}/ok"
