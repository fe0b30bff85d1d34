# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Sizes, meshes and groups of parallel layouts, against layouts worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch.distributed as dist

from areal.api.alloc_mode import ModelAllocation
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.utils.errors import ConfigError
from tests.distributed import run_ranks


def test_dp_shard_of_minus_one_takes_the_remaining_ranks() -> None:
    assert ArchonParallelDims(tp=2, cp=2, pp=2, world_size=16).dp_shard == 2


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ({"dp_shard": 2, "tp": 2, "world_size": 8}, r"2\*1\*2\*1 = 4 to be the world size, got 8"),
        ({"tp": 3, "world_size": 8}, r"1\*3\*1 = 3, got 8"),
        ({"tp": 4, "etp": 2, "world_size": 8}, r"1 or tp = 4, got 2"),
        ({"ep": 4, "tp": 2, "etp": 2, "world_size": 4}, r"ep\*etp = 4\*2 = 8 to divide .* = 2\*1\*2 = 4"),
        ({"ep": 3, "world_size": 4}, r"= 3 to divide .* = 4"),
        ({"cp": 0, "world_size": 4}, r"cp >= 1, got 0"),
    ],
)
def test_dims_that_do_not_fit_are_refused_with_both_numbers(sizes: dict[str, int], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        ArchonParallelDims(**sizes)


def test_dims_of_a_backend_string_has_its_sizes() -> None:
    strategy = ModelAllocation.from_str("archon:(attn:d4t2p2|ffn:e4t2)").parallel
    dims = ArchonParallelDims.of(strategy, "cpu")
    assert (dims.dp_shard, dims.tp, dims.pp, dims.ep, dims.etp, dims.expert_fsdp) == (4, 2, 2, 4, 2, 1)


def test_size_properties_of_a_mixed_layout_follow_the_sizes() -> None:
    dims = ArchonParallelDims(dp_shard=2, cp=2, tp=2, pp=2, ep=4, world_size=16)
    assert (dims.seq_len_divisor, dims.context_and_model_parallel_size, dims.fsdp, dims.expert_fsdp) == (4, 8, 4, 2)
    assert (dims.dp_enabled, dims.cp_enabled, dims.tp_enabled, dims.pp_enabled, dims.ep_enabled) == (True,) * 5


def test_experts_without_expert_parallelism_are_cut_by_tp() -> None:
    dims = ArchonParallelDims(tp=2, world_size=4)
    assert (dims.expert_tp, dims.expert_fsdp) == (2, 2)


AXES = ("pp", "dp", "cp", "tp", "dp_cp", "efsdp", "ep", "etp", "pp_cp_tp")


def _groups(rank: int, world_size: int, sizes: dict[str, int]) -> dict[str, list[int]]:
    dims = ArchonParallelDims(**sizes, world_size=world_size)
    groups = {axis: dist.get_process_group_ranks(dims.get_group(axis)) for axis in AXES}
    dist.barrier()  # a rank that ends at once must not close connections that others still open
    return groups


def test_groups_of_eight_ranks_with_expert_parallelism_over_tp_are_neighbours() -> None:
    groups = run_ranks(_groups, 8, {"pp": 2, "tp": 2, "ep": 2})
    expected: dict[str, Any] = {"pp": [1, 5], "dp": [1, 3], "cp": [1], "tp": [0, 1], "dp_cp": [1, 3]}
    expected |= {"efsdp": [1, 3], "ep": [0, 1], "etp": [1], "pp_cp_tp": [0, 1, 4, 5]}
    assert groups[1] == expected


def test_groups_of_eight_ranks_with_expert_tensor_parallelism_keep_tp_inside() -> None:
    groups = run_ranks(_groups, 8, {"cp": 2, "tp": 2, "ep": 4, "etp": 2})
    assert groups[5] == {
        "pp": [5],
        "dp": [1, 5],
        "cp": [5, 7],
        "tp": [4, 5],
        "dp_cp": [1, 3, 5, 7],
        "efsdp": [5],
        "ep": [1, 3, 5, 7],
        "etp": [4, 5],
        "pp_cp_tp": [4, 5, 6, 7],
    }
