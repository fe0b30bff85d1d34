# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Which layers a pipeline stage holds, and which stages a rank runs. Pure arithmetic, used by `pipeline` and by `areal plan`.

Embedding and head cost about as much as layers: the first and last stage get fewer. Example: 8 layers, 4 stages, one layer less on
each: 10 effective layers, shared out (3, 3, 2, 2), make embedding + 2, 3, 2, 1 + head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from areal.experimental.models.archon.model import ModelPart
from areal.experimental.models.archon.model_args import DecoderArgs
from areal.utils.errors import ConfigError

STAGES_PER_RANK = {"1F1B": 1, "Interleaved1F1B": 2, "InterleavedZeroBubble": 2, "ZBVZeroBubble": 2}
"""Schedules of torch.distributed.pipelining that are supported, and their usual number of stages a rank."""
V_SCHEDULES = ("ZBVZeroBubble",)
"""Rank r runs stages r and 2p - 1 - r of p ranks; the others run r, r + p, and so on."""


def generate_llm_fqn_per_model_part(
    num_stages: int,
    num_layers: int,
    first_stage_less_layers: int = 1,
    last_stage_less_layers: int = 1,
    is_critic: bool = False,
) -> list[list[str]]:
    """Names of the modules of each stage: `tok_embeddings`, `layers.i`, `norm`, `output` (critic: `score`).

    `ConfigError` where some stage would hold no layer that it should, or the first or last less than none.
    """
    if num_stages < 1:
        raise ConfigError(f"expected at least one pipeline stage, got {num_stages}")
    head = ["norm", "score" if is_critic else "output"]
    if num_stages == 1:
        return [["tok_embeddings", *(f"layers.{i}" for i in range(num_layers)), *head]]
    effective = num_layers + first_stage_less_layers + last_stage_less_layers
    if num_stages > effective:
        raise ConfigError(
            f"expected at most {effective} pipeline stages ({num_layers} layers + {first_stage_less_layers} for the embedding "
            f"+ {last_stage_less_layers} for the head), got {num_stages}; use fewer stages"
        )
    per_stage, extra = divmod(effective, num_stages)
    for what, less in (("first", first_stage_less_layers), ("last", last_stage_less_layers)):
        if less > per_stage:
            raise ConfigError(
                f"expected {what}_stage_less_layers <= {per_stage} (effective layers a stage), got {less}; lower it"
            )
    counts = [per_stage + (stage < extra) for stage in range(num_stages)]
    counts[0] -= first_stage_less_layers
    counts[-1] -= last_stage_less_layers
    names, next_layer = [], 0
    for count in counts:
        names.append([f"layers.{i}" for i in range(next_layer, next_layer + count)])
        next_layer += count
    return [["tok_embeddings", *names[0]], *names[1:-1], [*names[-1], *head]]


def part_of_names(names: Sequence[str]) -> ModelPart:
    """The part of a decoder that holds these modules; its layers must be consecutive."""
    layers = [int(name.removeprefix("layers.")) for name in names if name.startswith("layers.")]
    if layers != list(range(layers[0], layers[-1] + 1)) if layers else False:
        raise ConfigError(f"expected consecutive layers on a pipeline stage, got {layers}")
    first, last = (layers[0], layers[-1] + 1) if layers else (0, 0)
    return ModelPart(first, last, "tok_embeddings" in names, "norm" in names)


def count_stages(num_layers: int, pp: int, schedule: str, layers_per_stage: int | None = None) -> int:
    """Number of stages over all ranks: from the layers a stage is to hold, or the usual number of the schedule."""
    if schedule not in STAGES_PER_RANK:
        raise ConfigError(f"expected a pipeline schedule of {', '.join(STAGES_PER_RANK)}, got {schedule!r}")
    if layers_per_stage is None:
        return pp * STAGES_PER_RANK[schedule]
    if layers_per_stage < 1:
        raise ConfigError(f"expected at least one layer a pipeline stage, got {layers_per_stage}")
    num_stages = math.ceil(num_layers / layers_per_stage)
    if num_stages % pp:
        raise ConfigError(
            f"expected a number of pipeline stages divisible by pp = {pp}, got {num_stages} = {num_layers} layers / "
            f"{layers_per_stage} a stage; change pp_layers_per_stage"
        )
    per_rank = num_stages // pp
    is_single = STAGES_PER_RANK[schedule] == 1
    if (is_single and per_rank != 1) or (not is_single and per_rank < 2) or (schedule in V_SCHEDULES and per_rank != 2):
        wanted = "exactly 1" if is_single else "exactly 2" if schedule in V_SCHEDULES else "at least 2"
        raise ConfigError(
            f"expected {wanted} stages a rank with {schedule}, got {per_rank} = {num_stages} stages / pp = {pp}; change "
            "pp_layers_per_stage or the schedule"
        )
    return num_stages


def stages_of_rank(rank: int, pp: int, num_stages: int, schedule: str) -> tuple[int, ...]:
    """Indices of the stages that a pipeline rank runs, ascending."""
    if schedule in V_SCHEDULES:
        return rank, num_stages - 1 - rank
    return tuple(range(rank, num_stages, pp))


def rank_of_stage(stage: int, pp: int, num_stages: int, schedule: str) -> int:
    """The pipeline rank that runs a stage."""
    if schedule in V_SCHEDULES:
        return min(stage, num_stages - 1 - stage)
    return stage % pp


def model_parts(
    args: DecoderArgs, num_stages: int, schedule: str, less_layers: tuple[int, int] = (1, 1)
) -> list[ModelPart]:
    """The parts of all stages. `ConfigError` where a rank would hold the matrix of tied embeddings twice."""
    if schedule in V_SCHEDULES and args.tie_embeddings and not args.is_critic:
        raise ConfigError(
            f"expected a schedule that puts the first and the last stage on different ranks for tied embeddings, got "
            f"{schedule}; use {', '.join(name for name in STAGES_PER_RANK if name not in V_SCHEDULES)}"
        )
    names = generate_llm_fqn_per_model_part(num_stages, args.num_layers, *less_layers, is_critic=args.is_critic)
    return [part_of_names(stage) for stage in names]
