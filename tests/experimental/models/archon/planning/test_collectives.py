# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The collectives of a plan are those that a step of `ArchonEngine` on as many ranks really makes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from areal.api.alloc_mode import ModelAllocation
from areal.api.cli_args import ArchonEngineConfig, TrainEngineConfig
from areal.experimental.models.archon.model_spec import get_model_spec
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.planning.report import PlanInputs, make_plan
from areal.models.hf_model import load_hf_config
from tests.distributed import run_ranks
from tests.engine.tiny import (
    SEQ_LENS,
    make_batch,
    micro_batches,
    num_trained_tokens,
    rows_of,
    tiny_config,
    weighted_loss,
)
from tests.experimental.engine.helpers import make_archon, save_tiny_archon

KINDS = {
    "c10d::_allgather_base_": "all_gather",
    "_c10d_functional::all_gather_into_tensor": "all_gather",
    "c10d::_reduce_scatter_base_": "reduce_scatter",
    "_c10d_functional::reduce_scatter_tensor": "reduce_scatter",
    "c10d::alltoall_base_": "all_to_all",
    "_c10d_functional::all_to_all_single": "all_to_all",
    "_c10d_functional::all_reduce": "all_reduce",
    "c10d::send": "send",
}
NUM_MICRO_BATCHES = 2


class Counting(TorchDispatchMode):
    """Counts the collectives that were called; plain all-reduces are sums of scalars and of statistics of logits."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (kind := KINDS.get(func.name())) is not None:
            self.counts[kind] += 1
        return func(*args, **(kwargs or {}))


def count_in_a_step(rank: int, world_size: int, config: TrainEngineConfig, backend: str) -> dict[str, int]:
    strategy = ModelAllocation.from_str(backend).parallel
    num_rows = len(SEQ_LENS) // strategy.dp_size
    first = strategy.data_rank(rank) * num_rows
    batch = rows_of(make_batch(SEQ_LENS), list(range(first, first + num_rows)))
    engine = make_archon(config, backend)
    engine.train_batch(batch, weighted_loss, num_trained_tokens)  # the first step of a pipeline shakes hands, too
    with Counting() as counting:
        result = engine.train_batch(batch, weighted_loss, num_trained_tokens)
    engine.destroy()
    assert result["num_micro_batches"] == NUM_MICRO_BATCHES
    return dict(counting.counts)


def planned(path: str, backend: str, **options: Any) -> list[dict[str, int]]:
    """Counts by kind of each pipeline rank."""
    config = load_hf_config(path, True)
    args = get_model_spec(config.model_type).model_args_class.from_hf_config(config)
    dims = ArchonParallelDims.of(ModelAllocation.from_str(backend).parallel, "cpu")
    inputs = PlanInputs(num_tokens=64, num_micro_batches=NUM_MICRO_BATCHES, compute_bytes=4, **options)
    ranks = []
    for rank in make_plan(args, dims, inputs, backend).ranks:
        counts: Counter[str] = Counter()
        for entry in rank.collectives:
            counts[entry.kind] += 0 if entry.what == "statistics of logits" else entry.count
        ranks.append({kind: count for kind, count in counts.items() if count})
    return ranks


CONFIGS: dict[str, dict[str, Any]] = {
    "qwen3 tied": {"tie_word_embeddings": True},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "mlp_only_layers": [0]},
}
CASES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("llama", "archon:d2", {}, {}),
    ("llama", "archon:d2", {"reshard_after_forward_policy": "never"}, {"reshard_policy": "never"}),
    ("olmo2", "archon:t2", {"ac_mode": "full"}, {"checkpointing": "full"}),
    ("qwen3", "archon:c2", {"ac_mode": "full"}, {"checkpointing": "full"}),
    ("qwen3", "archon:t2c2", {"ac_mode": "selective"}, {"checkpointing": "selective"}),
    ("qwen3", "archon:d2p2", {"pp_schedule": "1F1B"}, {}),
    ("qwen3 tied", "archon:d2p2", {"pp_schedule": "1F1B"}, {}),
    ("qwen3_moe", "archon:(attn:d2t2|ffn:e2t2)", {"ac_mode": "selective"}, {"checkpointing": "selective"}),
    ("qwen3_moe", "archon:d2e2", {"ac_mode": "full"}, {"checkpointing": "full"}),
]


@pytest.mark.parametrize(("model", "backend", "settings", "inputs"), CASES)
def test_planned_collectives_are_those_of_a_step(
    tmp_path: Path, model: str, backend: str, settings: dict[str, Any], inputs: dict[str, Any]
) -> None:
    path = save_tiny_archon(tmp_path / "model", model.split()[0], num_hidden_layers=2, **CONFIGS.get(model, {}))
    config = tiny_config(
        path,
        mb_spec=micro_batches(NUM_MICRO_BATCHES),
        gradient_checkpointing="ac_mode" in settings,
        archon=ArchonEngineConfig(**settings),
    )
    world_size = ModelAllocation.from_str(backend).world_size
    counted = run_ranks(count_in_a_step, world_size, config, backend)
    plans = planned(path, backend, **inputs)
    for pp_rank, expected in enumerate(plans):
        assert counted[pp_rank * world_size // len(plans)] == expected, f"pipeline rank {pp_rank}"
