# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Expert parallelism at its edges: experts without tokens, ranks with few tokens, more shards than experts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from areal.experimental.models.archon.model_args import MoEArgs
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.expert import RankDispatcher
from areal.experimental.models.archon.parallel.parallelize import parallelize_decoder
from tests.distributed import run_ranks
from tests.experimental.models.archon.parallel.cases import (
    LENGTHS,
    MOE,
    assert_same_step,
    make_batch,
    make_model,
    parallel_step,
    reference_step,
)


def _many_experts(num_experts: int) -> Any:
    ffn = MOE.layers[-1].ffn
    assert isinstance(ffn, MoEArgs)
    layer = replace(MOE.layers[-1], ffn=replace(ffn, num_experts=num_experts))
    return replace(MOE, layers=(layer,) * 2)


def test_step_with_few_tokens_on_a_rank_and_idle_experts_equals_that_of_one_process() -> None:
    args = _many_experts(32)  # for 26 + 2 tokens with two choices each: some experts get none
    lengths = ((*LENGTHS, 2), (1, 1))
    expected = reference_step(args, [make_batch(seed, lengths[seed]) for seed in range(2)])
    for result in run_ranks(parallel_step, 2, args, {"dp_shard": 2, "ep": 2}, None, lengths):
        assert_same_step(result, expected)


def test_step_with_more_shards_than_experts_equals_that_of_one_process() -> None:
    expected = reference_step(_many_experts(2), [make_batch(seed) for seed in range(4)])
    for result in run_ranks(parallel_step, 4, _many_experts(2), {"dp_shard": 4}):
        assert_same_step(result, expected)


def _shards(rank: int, world_size: int) -> list[tuple[int, ...]]:
    model = parallelize_decoder(make_model(_many_experts(2)), ArchonParallelDims(world_size=world_size))
    shapes = [tuple(param.to_local().shape) for param in model.layers["0"].moe.experts.parameters()]
    dist.barrier()
    return shapes


def test_more_shards_than_experts_cut_each_expert() -> None:
    # w1 and w3 are [2, 8, 16], w2 is [2, 16, 8].
    for shapes in run_ranks(_shards, 4):
        assert shapes == [(2, 2, 16), (2, 4, 8), (2, 2, 16)]


def _round_trip(rank: int, world_size: int, counts: list[list[int]]) -> tuple[Tensor, Tensor, list[int], Tensor]:
    """Rows `rank * 100 + i` for experts with these counts; what arrives, and what comes back doubled by hand."""
    dispatcher = RankDispatcher(dist.group.WORLD, None)
    counts_X = torch.tensor(counts[rank])
    rows = (rank * 100.0 + torch.arange(int(counts_X.sum()))).unsqueeze(1).requires_grad_()
    arrived, local_counts, state = dispatcher.dispatch(rows, counts_X)
    back = dispatcher.combine(arrived * 2.0, state)
    (grad,) = torch.autograd.grad((back * rows.detach()).sum(), rows)
    dist.barrier()
    return arrived.detach(), back.detach(), local_counts.tolist(), grad


def test_rows_arrive_sorted_by_expert_and_then_rank_and_come_back_in_order() -> None:
    first, second = run_ranks(_round_trip, 2, [[1, 2, 0, 1], [2, 0, 0, 0]])
    assert first[0].flatten().tolist() == [0.0, 100.0, 101.0, 1.0, 2.0]
    assert (first[2], second[2]) == ([3, 2], [0, 1])
    assert second[0].flatten().tolist() == [3.0]
    assert first[1].flatten().tolist() == [0.0, 2.0, 4.0, 6.0]
    assert second[1].flatten().tolist() == [200.0, 202.0]
    assert first[3].flatten().tolist() == [0.0, 2.0, 4.0, 6.0]


@pytest.mark.parametrize("counts", [[[0, 0], [0, 0]], [[0, 0], [0, 3]]], ids=str)
def test_no_rows_on_a_rank_or_on_all_are_a_normal_case(counts: list[list[int]]) -> None:
    for rank, (_, back, _, grad) in enumerate(run_ranks(_round_trip, 2, counts)):
        assert len(back) == len(grad) == sum(counts[rank])
