# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Which rank does what in an Archon layout: who gets which data, who holds which part of the model.

`ArchonEngine` joins through `join_archon`. A rank alone needs no process group.
"""

from __future__ import annotations

from dataclasses import dataclass

from areal.api.alloc_mode import ParallelStrategy
from areal.engine.core import topology as topo
from areal.engine.core.topology import DataAxis, Topology
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.utils.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ArchonTopology(Topology):
    """A `Topology` whose ranks are arranged by `dims`; tensor, context and pipeline peers get the same data."""

    dims: ArchonParallelDims


def join_archon(strategy: ParallelStrategy | None) -> ArchonTopology:
    """Join the group of this run and arrange its ranks; without a strategy all are data-parallel.

    `ConfigError` when the sizes do not multiply to the number of processes.
    """
    world_size = topo.run_size()
    if strategy is None:
        strategy = ParallelStrategy(data_parallel_size=world_size)
    if strategy.world_size != world_size:
        raise ConfigError(
            f"expected as many processes as d*t*p*c = {strategy.dp_size}*{strategy.tp_size}*{strategy.pp_size}*"
            f"{strategy.cp_size} = {strategy.world_size}, got a group of {world_size}; start that many workers or change "
            "the backend string"
        )
    ArchonParallelDims.of(strategy, "cpu")  # before anybody joins: what it refuses must not leave a group behind
    world = topo.join_world()
    dims = ArchonParallelDims.of(strategy, world.device.type)
    return ArchonTopology(
        device=world.device,
        rank=world.rank,
        world_size=world_size,
        owns_default_group=world.owns_default_group,
        data_axis=_data_axis(dims, world),
        dims=dims,
    )


def _data_axis(dims: ArchonParallelDims, world: Topology) -> DataAxis:
    if world.world_size == 1:
        return DataAxis(None, 0, 1)
    # A group also where it has one rank: None would mean all ranks to whoever reduces over it.
    return DataAxis(dims.get_group("dp_shard"), dims.local_rank("dp_shard"), dims.dp_shard)
