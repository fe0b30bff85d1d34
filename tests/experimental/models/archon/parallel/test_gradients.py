# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Gradient norms of hand-made shards; the norms of whole models are compared in every test of a layout."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import Placement, Replicate, Shard, distribute_tensor

from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.gradients import clip_gradients, gradient_norm
from tests.distributed import run_ranks

WHOLE = torch.arange(8.0).view(4, 2)


def _param(grad: Tensor) -> nn.Parameter:
    param = nn.Parameter(torch.zeros_like(grad))
    param.grad = grad
    return param


def _norm_and_clipped(rank: int, world_size: int) -> tuple[float, float, Tensor]:
    dims = ArchonParallelDims(dp_shard=2, tp=2, pp=2, world_size=world_size)
    dense, tp = dims.meshes.dense["dp_shard_cp", "tp"], dims.get_mesh("tp")

    def on(mesh: dist.DeviceMesh, *placements: Placement) -> nn.Parameter:
        return _param(distribute_tensor(WHOLE, mesh, placements, src_data_rank=None))

    params = [on(dense, Shard(0), Shard(1)), on(dense, Shard(0), Replicate()), on(tp, Shard(0)), _param(WHOLE.clone())]
    if dims.local_rank("pp") == 1:
        params = [params[0], nn.Parameter(torch.zeros(2))]  # without gradient
    before = clip_gradients(params, 1.0, dims)
    after = gradient_norm(params, dims)
    clipped = params[0].grad.full_tensor()
    dist.barrier()
    return before, after, clipped


def test_norm_counts_each_shard_once_over_meshes_and_stages() -> None:
    # Four parameters on the first stage, one on the second, all with the same gradient.
    expected = math.sqrt(5 * float(WHOLE.square().sum()))
    for before, after, clipped in run_ranks(_norm_and_clipped, 8):
        assert abs(before - expected) < 1e-5
        assert abs(after - 1.0) < 1e-5
        torch.testing.assert_close(clipped, WHOLE / expected)


def test_gradients_below_the_limit_or_not_finite_stay() -> None:
    dims = ArchonParallelDims()
    params = [_param(torch.tensor([3.0, 4.0]))]
    assert clip_gradients(params, 10.0, dims) == 5.0
    assert params[0].grad.tolist() == [3.0, 4.0]
    params = [_param(torch.tensor([3.0, math.inf]))]
    assert clip_gradients(params, 1.0, dims) == math.inf
    assert params[0].grad[0] == 3.0


def test_norm_without_any_gradient_is_zero() -> None:
    assert gradient_norm([nn.Parameter(torch.zeros(2))], ArchonParallelDims()) == 0.0
