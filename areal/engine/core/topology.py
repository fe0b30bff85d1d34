# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The device of this process and the process group it trains in.

Every training engine joins through here. One process needs no group; whoever needs a mesh of one rank (FSDP casts
parameters to the compute dtype) gets it without any rendezvous. Must never destroy a group it did not create.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from areal.api.alloc_mode import ParallelStrategy
from areal.utils.errors import CheckpointError, ConfigError
from areal.utils.logging import getLogger

logger = getLogger("topology")

DP_AXIS = "dp"
# A collective waits at most this long for the slowest rank; a step with long micro-batches takes minutes, not this.
COLLECTIVE_TIMEOUT = datetime.timedelta(minutes=30)


@dataclass(frozen=True)
class DataAxis:
    """This rank's place among the ranks that get different data; the other ranks get the same data as one of these."""

    group: dist.ProcessGroup | None
    rank: int
    size: int


@dataclass(frozen=True)
class Topology:
    """Where this process trains. `group` is None for one process alone.

    `data_axis` is None where every rank gets data of its own.
    """

    device: torch.device
    rank: int
    world_size: int
    owns_default_group: bool
    data_axis: DataAxis | None = None

    @property
    def group(self) -> dist.ProcessGroup | None:
        """All ranks; None in a run of one process."""
        return dist.group.WORLD if self.world_size > 1 else None

    @property
    def data(self) -> DataAxis:
        """The data axis: batches are split over it, losses and statistics summed."""
        return DataAxis(self.group, self.rank, self.world_size) if self.data_axis is None else self.data_axis

    def data_parallel_mesh(self) -> DeviceMesh:
        """A mesh with the one axis `dp` over all ranks."""
        return init_device_mesh(self.device.type, (self.world_size,), mesh_dim_names=(DP_AXIS,))

    def sum_over_data(self, value: torch.Tensor) -> torch.Tensor:
        """Sum of a tensor over the data axis, in place: each sample counts once, however many ranks work on it."""
        if self.data.group is not None:
            dist.all_reduce(value, group=self.data.group)
        return value

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.group is not None:
            dist.barrier(group=self.group)

    def broadcast_from_first(self, value: object) -> object:
        """A picklable object of rank 0 on all ranks."""
        if self.group is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.group)
        return box[0]

    def raise_together(self, error: BaseException | None) -> None:
        """Raise on every rank if any rank failed: the own error, or a `CheckpointError` quoting the first other one."""
        if self.group is None:
            if error is not None:
                raise error
            return
        texts: list[str | None] = [None] * self.world_size
        dist.all_gather_object(texts, None if error is None else f"{type(error).__name__}: {error}", group=self.group)
        if error is not None:
            raise error
        for rank, text in enumerate(texts):
            if text is not None:
                raise CheckpointError(f"rank {rank} failed with {text}")


def join(strategy: ParallelStrategy | None) -> Topology:
    """`join_world` for engines that know data parallelism alone; `ConfigError` when the strategy asks for other axes."""
    _check_strategy(strategy, run_size())
    return join_world()


def run_size() -> int:
    """Number of processes of this run, known before they join."""
    return dist.get_world_size() if dist.is_initialized() else int(os.environ.get("WORLD_SIZE", "1"))


def join_world() -> Topology:
    """Join the group that RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT describe; without them, train alone."""
    was_initialized, world_size = dist.is_initialized(), run_size()
    device = _select_device()
    if world_size > 1 and not was_initialized:
        dist.init_process_group(_backend(device), timeout=COLLECTIVE_TIMEOUT)
    rank = dist.get_rank() if dist.is_initialized() else 0
    return Topology(device, rank, world_size, owns_default_group=not was_initialized)


def ensure_default_group(topology: Topology) -> None:
    """Give one process alone the default group that a mesh of one rank needs; no rendezvous, no threads waiting."""
    if not dist.is_initialized():
        dist.init_process_group(_backend(topology.device), store=dist.HashStore(), rank=0, world_size=1)


def _backend(device: torch.device) -> str:
    """On a GPU two: offloaded parameters, objects and statistics are on the host."""
    return "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"


def leave(topology: Topology) -> None:
    """Destroy the default group if `join` made it."""
    if topology.owns_default_group and dist.is_initialized():
        dist.destroy_process_group()


def _check_strategy(strategy: ParallelStrategy | None, world_size: int) -> None:
    if strategy is None:
        return
    sizes = {"t": strategy.tp_size, "p": strategy.pp_size, "c": strategy.cp_size, "e": strategy.ep_size}
    if extra := {axis: size for axis, size in sizes.items() if size > 1}:
        axes = ", ".join(f"{axis}{size}" for axis, size in extra.items())
        raise ConfigError(f"expected data parallelism alone, got {axes}: not in this release; use fsdp:d{world_size}")
    if strategy.dp_size != world_size:
        raise ConfigError(
            f"expected as many processes as data-parallel ranks, got d{strategy.dp_size} in a group of {world_size}; "
            "start that many workers or change the backend string"
        )


def _select_device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device
