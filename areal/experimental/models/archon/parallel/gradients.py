# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The norm of gradients that lie in shards on many meshes and pipeline stages; and clipping by it.

Called by the optimizer of `ArchonEngine`. Each shard counts once: a rank divides the squares of what other ranks hold too by
their number, read off the placements, and one sum over all ranks gives the squared norm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Partial, Replicate

from areal.experimental.models.archon.parallel.dims import ArchonParallelDims


def gradient_norm(params: Iterable[nn.Parameter], dims: ArchonParallelDims) -> float:
    """L2 norm of the gradients of all parameters of all stages; equal on every rank. Collective over all ranks.

    `params`: those of this rank's stages. Parameters without gradient count nothing.
    """
    grads = [param.grad for param in params if param.grad is not None]
    total = torch.zeros((), dtype=torch.float64, device=dims.device_type)
    stage_ranks = dims.world_size // dims.pp
    if grads:
        norms = torch.stack(torch._foreach_norm([local_part(grad) for grad in grads], 2, dtype=torch.float32))
        weights = norms.new_tensor([num_shards(grad) / stage_ranks for grad in grads])
        total += (norms.double().square() * weights).sum().to(total.device)
    if dims.world_size > 1:
        dist.all_reduce(total)
    return math.sqrt(value) if math.isfinite(value := float(total)) else value


def clip_gradients(
    params: Sequence[nn.Parameter], max_norm: float, dims: ArchonParallelDims, repeated: Sequence[nn.Parameter] = ()
) -> float:
    """Scale gradients in place so that their global norm is at most `max_norm`; returns the norm before.

    A norm that is not finite leaves the gradients as they are. `repeated`: those of `params` that another stage counts.
    """
    others = {id(param) for param in repeated}
    total = gradient_norm([param for param in params if id(param) not in others], dims)
    scale = max_norm / (total + 1e-6)
    if math.isfinite(total) and scale < 1.0:
        torch._foreach_mul_([local_part(param.grad) for param in params if param.grad is not None], scale)
    return total


def num_shards(grad: Tensor) -> int:
    """Number of ranks of a stage that hold different parts of a gradient."""
    if not isinstance(grad, DTensor):
        return 1
    assert not any(isinstance(placement, Partial) for placement in grad.placements), "gradients are reduced already"
    sizes = zip(grad.device_mesh.shape, grad.placements, strict=True)
    return math.prod(size for size, placement in sizes if not isinstance(placement, Replicate))


def local_part(grad: Tensor) -> Tensor:
    """What this rank holds of a gradient."""
    return grad.to_local() if isinstance(grad, DTensor) else grad
