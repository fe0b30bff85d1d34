# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a run would do, as text: its resolved settings, how a step's samples are cut, and which processes start.

Called on `--dry-run` by drivers and by `areal config check`. Must start nothing and touch no file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from areal.api.alloc_mode import ModelAllocation
from areal.api.config.experiment import BaseExperimentConfig, PPOConfig, SFTConfig
from areal.api.config.save import to_yaml
from areal.utils import names
from areal.utils.errors import ConfigError


def describe_plan(config: BaseExperimentConfig) -> str:
    """The resolved config (secrets redacted), the table of a step, and the processes, ready to print.

    Raises `ConfigError` for an experiment that is neither PPO nor SFT, and for unreadable backend strings.
    """
    if isinstance(config, PPOConfig):
        step, processes = _ppo_step(config), _ppo_processes(config)
    elif isinstance(config, SFTConfig):
        step, processes = _sft_step(config), [_trainer_row(config)]
    else:
        raise ConfigError(f"describe_plan: expected a PPOConfig or SFTConfig, got {type(config).__name__}")
    run_dir = names.log_dir(config.cluster.fileroot, config.experiment_name, config.trial_name)
    return "\n".join(
        [
            "# Resolved configuration",
            to_yaml(config),
            "# One training step",
            *_table(["", "count", "how"], step),
            "",
            f"# Processes (scheduler: {config.scheduler.type})",
            *_table(["role", "processes", "backend", "device", "port", "model"], processes),
            "",
            f"# Output: {run_dir}",
        ]
    )


def _ppo_step(config: PPOConfig) -> list[list[str]]:
    actor, gconfig = config.actor, config.gconfig
    prompts, group = config.train_dataset.batch_size, gconfig.n_samples
    samples, ranks = prompts * group, ModelAllocation.from_str(actor.backend).parallel.dp_size
    per_rank = math.ceil(samples / ranks)
    per_update = math.ceil(per_rank / actor.ppo_n_minibatches)
    longest = None
    if config.train_dataset.max_length is not None:
        longest = config.train_dataset.max_length + gconfig.max_new_tokens
    eta = config.rollout.max_head_offpolicyness
    return [
        ["prompts", str(prompts), "train_dataset.batch_size"],
        ["x group", str(group), "gconfig.n_samples"],
        ["= samples", str(samples), "at least" if config.dynamic_bs else "each step"],
        ["samples per rank", str(per_rank), f"over {ranks} data-parallel rank(s) of actor.backend={actor.backend}"],
        ["optimizer updates", str(actor.ppo_n_minibatches), f"of {per_update} sample(s) per rank"],
        _micro_batches(config, per_update, longest),
        ["staleness", str(eta), f"versions; up to {(eta + 1) * prompts} prompts in flight or waiting"],
    ]


def _sft_step(config: SFTConfig) -> list[list[str]]:
    items, ranks = config.train_dataset.batch_size, ModelAllocation.from_str(config.actor.backend).parallel.dp_size
    per_rank = math.ceil(items / ranks)
    return [
        ["items", str(items), "train_dataset.batch_size"],
        [
            "items per rank",
            str(per_rank),
            f"over {ranks} data-parallel rank(s) of actor.backend={config.actor.backend}",
        ],
        ["optimizer updates", "1", f"of {per_rank} item(s) per rank"],
        _micro_batches(config, per_rank, config.train_dataset.max_length),
    ]


def _micro_batches(config: SFTConfig | PPOConfig, samples: int, longest: int | None) -> list[str]:
    """The row of micro-batches per rank and update: exact without a token cap, else the range lengths allow."""
    spec = config.actor.mb_spec
    least = _round_up(spec.n_mbs or 1, spec.n_mbs_divisor)
    if spec.max_tokens_per_mb is None:
        return ["micro-batches per rank", str(least), "in each update: actor.mb_spec.n_mbs"]
    cap = f"in each update: at most {spec.max_tokens_per_mb} tokens each"
    if longest is None:
        return ["micro-batches per rank", f">= {least}", cap]
    # A bin closes only when the next sequence does not fit, so each but the last holds at least this many.
    fitting = max(1, spec.max_tokens_per_mb // longest)
    most = max(least, _round_up(math.ceil(samples / fitting), spec.n_mbs_divisor))
    return ["micro-batches per rank", f"{least} to {most}", f"{cap}, if all samples have {longest} tokens"]


def _round_up(count: int, divisor: int) -> int:
    return math.ceil(count / divisor) * divisor


def _ppo_processes(config: PPOConfig) -> list[list[str]]:
    rollout = ModelAllocation.from_str(config.rollout.backend)
    native = config.native
    server = [
        "rollout server",
        str(rollout.num_servers),
        config.rollout.backend,
        native.device,
        "auto",
        native.model_path,
    ]
    rows = [server, _trainer_row(config)]
    if config.ref is not None:
        rows.append(["reference", "in the trainer's", config.ref.backend, "auto", "-", config.ref.path])
    return rows


def _trainer_row(config: SFTConfig | PPOConfig) -> list[str]:
    allocation = ModelAllocation.from_str(config.actor.backend)
    return ["trainer", str(allocation.world_size), config.actor.backend, "auto", "auto", config.actor.path]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Left-aligned columns two blanks apart."""
    cells = [list(header), *([cell or "-" for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
