# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""FSDP2: parameters, gradients and optimizer state sharded over data- and context-parallel ranks. Last step.

Each block is one unit, its experts another (over their own mesh), and what lies outside of blocks a third, which stays gathered
between forward and backward. Master weights keep their dtype; gradients are summed, never averaged.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard

from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.moe.moe import moe_layers
from areal.experimental.models.archon.parallel.activation import hide_hooks
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.utils.errors import ConfigError

ReshardPolicy = Literal["default", "always", "never"]

MAX_UNSHARDED_GRAD_BYTES = 2 << 30
"""Gradients of several micro-batches are added up unsharded and reduced once when they fit into this much memory a rank."""
_GRAD_BYTES = 4


def reshards_after_forward(policy: ReshardPolicy, has_pipeline: bool) -> bool:
    """Whether blocks give gathered parameters back after their forward.

    `default` does without a pipeline: with one, every micro-batch would gather them anew.
    """
    if policy not in ("default", "always", "never"):
        raise ConfigError(f"expected reshard_after_forward_policy to be default, always or never, got {policy!r}")
    return not has_pipeline if policy == "default" else policy == "always"


def defers_reduction(num_parameters: int, cpu_offload: bool) -> bool:
    """Whether a rank that works on this many parameters reduces gradients once a step instead of once a micro-batch."""
    return _GRAD_BYTES * num_parameters <= MAX_UNSHARDED_GRAD_BYTES and not cpu_offload


def needs_fsdp(model: ArchonModel, dims: ArchonParallelDims, param_dtype: torch.dtype, cpu_offload: bool) -> bool:
    """Whether anything is to be sharded, cast or offloaded; otherwise FSDP would only add hooks."""
    casts = any(param.dtype != param_dtype for param in model.parameters())
    shards_experts = dims.expert_fsdp > 1 and bool(moe_layers(model))
    return dims.fsdp > 1 or shards_experts or casts or cpu_offload


def apply_fsdp(
    model: ArchonModel,
    dims: ArchonParallelDims,
    param_dtype: torch.dtype,
    reduce_dtype: torch.dtype,
    cpu_offload: bool = False,
    policy: ReshardPolicy = "default",
) -> None:
    """Shard a model that tensor and expert parallelism have cut already, in place."""
    reshards = reshards_after_forward(policy, dims.pp_enabled)
    precision = MixedPrecisionPolicy(param_dtype=param_dtype, reduce_dtype=reduce_dtype)
    offload = CPUOffloadPolicy(pin_memory=dims.device_type == "cuda") if cpu_offload else OffloadPolicy()
    dense, sparse = dims.get_mesh("dp_shard_cp"), dims.get_mesh("dp_shard_mod_ep")
    for moe in moe_layers(model).values():
        placement = _expert_placement(moe.experts, sparse)
        _shard(moe.experts, sparse, precision, offload, reshards, placement)
        hide_hooks(moe.experts)
    for block in model.layers.values():
        _shard(block, dense, precision, offload, reshards)
    _shard(model, dense, precision, offload, reshards=False)


def _shard(
    module: nn.Module,
    mesh: DeviceMesh,
    precision: MixedPrecisionPolicy,
    offload: OffloadPolicy,
    reshards: bool,
    placement: Shard | None = None,
) -> None:
    fully_shard(
        module,
        mesh=mesh,
        mp_policy=precision,
        offload_policy=offload,
        reshard_after_forward=reshards,
        shard_placement_fn=None if placement is None else lambda param: placement,
    )
    assert isinstance(module, FSDPModule)
    # A sum without pre-scaling: gloo has no scaled reductions, and dividing once, in the loss, is exact.
    module.set_gradient_divide_factor(1.0)
    module.set_force_sum_reduction_for_comms(True)


def _expert_placement(experts: nn.Module, mesh: DeviceMesh) -> Shard:
    """Cut experts between each other; where ranks outnumber them, some would hold nothing: cut each one instead."""
    locals_ = [param.to_local() if isinstance(param, DTensor) else param for param in experts.parameters()]
    fits_inside = all(param.shape[1] % mesh.size() == 0 for param in locals_)
    return Shard(1) if locals_[0].shape[0] < mesh.size() and fits_inside else Shard(0)
