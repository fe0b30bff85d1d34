# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal plan FILE [key=value ...]`: check the actor's Archon layout and print what each rank would hold and send.

Needs the model's config (`actor.path`), neither its weights nor any of the hardware.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from typing import Any

from areal.api.alloc_mode import ModelAllocation
from areal.api.cli_args import PPOConfig, SFTConfig, TrainEngineConfig, load_expr_config
from areal.cli.config import config_class
from areal.experimental.models.archon.model_spec import get_model_spec
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.planning.report import PlanInputs, make_plan, render
from areal.models.hf_model import load_hf_config
from areal.utils.errors import ConfigError

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_MOMENTS = {"adam": 2, "muon": 2, "sgd": 1}


def main(argv: Sequence[str]) -> int:
    """Print the plan: 0 when the layout fits together; `ConfigError` tells the first constraint it breaks."""
    parser = argparse.ArgumentParser(prog="areal plan", description=__doc__, allow_abbrev=False)
    parser.add_argument("file", help="the YAML file of a run")
    parser.add_argument("--cls", default="GRPO", help="GRPO, PPO, SFT or package.module:Class (default: %(default)s)")
    parser.add_argument("--tokens", type=int, help="tokens of a micro-batch (default: actor.mb_spec.max_tokens_per_mb)")
    parser.add_argument("--json", action="store_true", help="print data instead of tables")
    parser.usage = "areal plan [-h] [--cls CLS] [--tokens N] [--json] FILE [key=value ...]"
    args, overrides = parser.parse_known_args(list(argv))

    config, _ = load_expr_config(["--config", args.file, *overrides], config_class(args.cls))
    if not isinstance(config, PPOConfig | SFTConfig):
        raise ConfigError(f"expected a run that trains an actor, got {type(config).__name__}")
    actor = config.actor
    allocation = ModelAllocation.from_str(actor.backend)
    if allocation.backend != "archon":
        raise ConfigError(
            f"expected actor.backend=archon:..., got {actor.backend!r}; add an override such as "
            "actor.backend=archon:d8t2"
        )
    hf_config = load_hf_config(actor.path, actor.disable_dropout)
    model_args = get_model_spec(hf_config.model_type).model_args_class.from_hf_config(hf_config)
    dims = ArchonParallelDims.of(allocation.parallel, "cpu")
    plan = make_plan(model_args, dims, _inputs(config, args.tokens, dims), actor.backend)
    print(json.dumps(plan.to_json(), indent=2) if args.json else render(plan))
    return 0


def _inputs(config: PPOConfig | SFTConfig, tokens: int | None, dims: ArchonParallelDims) -> PlanInputs:
    actor = config.actor
    tokens = tokens or actor.mb_spec.max_tokens_per_mb
    if tokens is None:
        raise ConfigError(
            "expected a cap on the tokens of a micro-batch, got actor.mb_spec.max_tokens_per_mb=null; set it, "
            "or give --tokens"
        )
    archon = actor.archon
    return PlanInputs(
        num_tokens=tokens,
        num_micro_batches=_num_micro_batches(config, tokens, dims),
        compute_bytes=_BYTES[actor.dtype],
        master_bytes=_BYTES[actor.optimizer_dtype],
        num_moments=0 if actor.optimizer is None else _MOMENTS[actor.optimizer.type],
        logits_chunk=actor.logprobs_chunk_size,
        reduce_bytes=_BYTES[actor.grad_reduce_dtype],
        **_checkpointing(actor),
        offloads=archon.offload_params,
        reshard_policy=archon.reshard_after_forward_policy,  # type: ignore[arg-type]
        pp_schedule=archon.pp_schedule,
        pp_layers_per_stage=archon.pp_layers_per_stage,
        pp_less_layers=(archon.pp_first_stage_less_layers, archon.pp_last_stage_less_layers),
    )


def _num_micro_batches(config: PPOConfig | SFTConfig, tokens: int, dims: ArchonParallelDims) -> int:
    """Of one optimizer step on a data-parallel rank, if all sequences are as long as they may be."""
    samples, longest, updates = config.train_dataset.batch_size, config.train_dataset.max_length, 1
    if isinstance(config, PPOConfig):
        samples *= config.gconfig.n_samples
        updates = config.actor.ppo_n_minibatches
        longest = None if longest is None else longest + config.gconfig.max_new_tokens
    spec = config.actor.mb_spec
    per_rank = math.ceil(samples / dims.dp_shard / updates)
    needed = 1 if longest is None else math.ceil(per_rank / max(1, tokens // longest))
    least = max(spec.n_mbs or 1, needed, dims.pp)
    return math.ceil(least / spec.n_mbs_divisor) * spec.n_mbs_divisor


def _checkpointing(actor: TrainEngineConfig) -> dict[str, Any]:
    """The fields of `PlanInputs` about what is recomputed."""
    archon = actor.archon
    if not actor.gradient_checkpointing or archon.ac_mode == "none":
        return {"checkpointing": "none"}
    if archon.ac_mode == "memory_budget":  # the compiler keeps that share
        return {"checkpointing": "selective", "kept_share": archon.ac_memory_budget}
    if archon.ac_mode == "selective" and archon.selective_ac_option != "op":
        return {"checkpointing": "full", "checkpoint_every": int(archon.selective_ac_option)}
    return {"checkpointing": archon.ac_mode}
