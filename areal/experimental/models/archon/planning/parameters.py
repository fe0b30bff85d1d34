# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a rank holds of the parameters: exact, by parallelising the model on the meta device in a fake world.

Called by `report`. Sizes are in numbers of elements; `report` knows the dtypes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from areal.experimental.models.archon.model import ArchonModel, ModelPart
from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.moe.moe import moe_layers
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.parallelize import parallelize_decoder
from areal.experimental.models.archon.parallel.scoring import ScoringDecoder
from areal.experimental.models.archon.planning.fake_world import fake_world


@dataclass(frozen=True)
class RankParameters:
    """Parameters of a rank, in elements.

    total: of its model parts before any cut; local: what it keeps, of which local_experts of experts; largest_unit, root: what FSDP gathers of the largest block
    and of the part outside of blocks, after tensor and expert parallelism; num_units: how many units it gathers in turn.
    """

    total: int
    local: int
    local_experts: int
    largest_unit: int
    root: int
    num_units: int


def rank_parameters(
    args: DecoderArgs, dims: ArchonParallelDims, rank: int, parts: Iterable[ModelPart]
) -> RankParameters:
    """What `rank` holds if it runs these parts of the model."""
    totals = [_part_parameters(args, dims, rank, part) for part in parts]
    return RankParameters(
        total=sum(t.total for t in totals),
        local=sum(t.local for t in totals),
        local_experts=sum(t.local_experts for t in totals),
        largest_unit=max(t.largest_unit for t in totals),
        root=sum(t.root for t in totals),
        num_units=sum(t.num_units for t in totals),
    )


def _part_parameters(args: DecoderArgs, dims: ArchonParallelDims, rank: int, part: ModelPart) -> RankParameters:
    dims = replace(dims)  # its meshes die with this world
    with fake_world(dims.world_size, rank):
        with torch.device("meta"):
            model = ScoringDecoder(args, part)
        total = _num_elements(model)
        parallelize_decoder(model, dims, param_dtype=torch.bfloat16)
        blocks = [_gathered(block, dims) for block in model.layers.values()]
        return RankParameters(
            total=total,
            local=_local_elements(model),
            local_experts=sum(_local_elements(moe.experts) for moe in moe_layers(model).values()),
            largest_unit=max(blocks, default=0),
            root=_gathered(model, dims) - sum(blocks),
            num_units=len(blocks) + 1,
        )


def _num_elements(model: ArchonModel) -> int:
    return sum(param.numel() for param in model.parameters())


def _local_elements(module: nn.Module) -> int:
    return sum((p.to_local() if isinstance(p, DTensor) else p).numel() for p in module.parameters())


def _gathered(module: nn.Module, dims: ArchonParallelDims) -> int:
    """Elements of a module on a rank while FSDP has it gathered: cut by tensor and expert parallelism only."""
    total = 0
    for param in module.parameters():
        cuts = 1
        if isinstance(param, DTensor):
            for axis, placement in zip(param.device_mesh.mesh_dim_names or (), param.placements, strict=True):
                if axis not in ("dp_shard_cp", "dp_shard_mod_ep") and placement.is_shard():
                    cuts *= param.device_mesh[axis].size()
        total += param.numel() // cuts
    return total
