# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a rank holds of the parameters: exact, by parallelising the model on the meta device in a fake world.

Called by `report`. Sizes are in numbers of elements; `report` knows the dtypes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from areal.experimental.models.archon.model import ArchonModel, ModelPart
from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.moe.moe import moe_layers
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.parallelize import parallelize_decoder
from areal.experimental.models.archon.parallel.plan import Gradient, plan_modules
from areal.experimental.models.archon.parallel.scoring import ScoringDecoder
from areal.experimental.models.archon.planning.fake_world import fake_world


@dataclass(frozen=True)
class RankParameters:
    """Parameters of a rank, in elements.

    total: of its model parts before any cut; local: what it keeps, of which local_experts of experts and local_root outside
    of blocks; gathered, largest_unit, root: what FSDP gathers of everything, of the largest block and of the part outside of
    blocks, after tensor and expert parallelism; num_blocks, num_expert_units, num_roots: the units it gathers in turn;
    num_summed, summed_elements: parameters whose gradients tensor-parallel ranks sum; local_shared: of local, the matrix of tied
    embeddings where another stage has it too.
    """

    total: int
    local: int
    local_experts: int
    local_root: int
    gathered: int
    largest_unit: int
    root: int
    num_blocks: int
    num_expert_units: int
    num_roots: int
    num_summed: int
    summed_elements: int
    local_shared: int


def rank_parameters(
    args: DecoderArgs, dims: ArchonParallelDims, rank: int, parts: Iterable[ModelPart]
) -> RankParameters:
    """What `rank` holds if it runs these parts of the model."""
    totals = [asdict(_part_parameters(args, dims, rank, part)) for part in parts]
    sums = {name: sum(total[name] for total in totals) for name in totals[0]}
    return RankParameters(**{**sums, "largest_unit": max(total["largest_unit"] for total in totals)})


def count_parameters(args: DecoderArgs) -> int:
    """Parameters of the whole model."""
    with torch.device("meta"):
        return _num_elements(ArchonModel(args))


def _part_parameters(args: DecoderArgs, dims: ArchonParallelDims, rank: int, part: ModelPart) -> RankParameters:
    dims = replace(dims)  # its meshes die with this world
    with fake_world(dims.world_size, rank):
        with torch.device("meta"):
            model = ScoringDecoder(args, part)
        total = _num_elements(model)
        summed = _summed(model, dims.tp)
        parallelize_decoder(model, dims, param_dtype=torch.bfloat16)
        blocks = [_gathered(block, dims) for block in model.layers.values()]
        gathered, experts = _gathered(model, dims), [moe.experts for moe in moe_layers(model).values()]
        root = gathered - sum(blocks)
        return RankParameters(
            total=total,
            local=_local_elements(model),
            local_experts=sum(map(_local_elements, experts)),
            local_root=_local_elements(model) - sum(map(_local_elements, model.layers.values())),
            gathered=gathered,
            largest_unit=max(blocks, default=0),
            root=root,
            num_blocks=len(blocks),
            num_expert_units=len(experts),
            num_roots=int(root > 0),
            num_summed=len(summed),
            summed_elements=sum(summed),
            local_shared=_local_elements(model.tok_embeddings) if part.shares_embedding(args) else 0,
        )


def _summed(model: ArchonModel, tp: int) -> list[int]:
    """Sizes of the parameters that tensor-parallel ranks apply to different tokens or heads."""
    if tp == 1:
        return []
    return [
        plan.module._parameters[name].numel()  # type: ignore[union-attr]
        for plan in plan_modules(model, tp)
        for name, param in plan.parameters.items()
        if param.gradient is Gradient.SUM
    ]


def _num_elements(model: ArchonModel) -> int:
    return sum(param.numel() for param in model.parameters())


def _local_elements(module: nn.Module | None) -> int:
    if module is None:
        return 0
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
