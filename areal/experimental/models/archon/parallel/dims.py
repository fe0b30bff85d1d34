# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Sizes of the parallel axes of one training engine, and the device meshes and process groups made of them.

Built by `ArchonEngine` from a `ParallelStrategy`, read by every step of `parallelize_decoder`. One mesh over all ranks is
unfolded into views that share it (FSDP2 joins the meshes of a parameter only if they have one root):

    full    pp, dp_shard, cp, tp          who holds which batch, which tokens, which heads
    dense   pp, dp_shard_cp, tp           dense parameters: FSDP over dp_shard_cp, cut by tp
    sparse  pp, dp_shard_mod_ep, ep, etp  experts: cut by ep and etp, FSDP over dp_shard_mod_ep

Experts are folded over dp_shard·cp·tp: with etp = 1 neighbouring ranks, tensor-parallel ones first, form an `ep` group.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from areal.api.alloc_mode import ParallelStrategy
from areal.utils.errors import ConfigError

_ALIASES = {"dp": "dp_shard", "dp_cp": "dp_shard_cp", "fsdp": "dp_shard_cp", "efsdp": "dp_shard_mod_ep"}
_FULL_AXES = ("pp", "dp_shard", "cp", "tp")
_DENSE_AXES = ("pp", "dp_shard_cp", "tp")
_SPARSE_AXES = ("pp", "dp_shard_mod_ep", "ep", "etp")
MODEL_GROUP = "pp_cp_tp"
"""Name of the group of all ranks that work on the same sequences."""


@dataclass(frozen=True)
class ArchonParallelDims:
    """Sizes of the axes; a `dp_shard` of -1 becomes world_size / (cp·tp·pp).

    etp is 1 (experts whole) or tp (experts cut like dense feed-forwards). Without expert parallelism the experts are cut by
    tp in either case. Every size and divisibility is checked here; what depends on the model is `validate.check_layout`.
    """

    dp_shard: int = -1
    cp: int = 1
    tp: int = 1
    pp: int = 1
    ep: int = 1
    etp: int = 1
    world_size: int = 1
    device_type: str = "cpu"

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = self.__dict__[entry.name]
            is_automatic = entry.name == "dp_shard" and value == -1
            if isinstance(value, int) and value < 1 and not is_automatic:
                raise ConfigError(f"expected {entry.name} >= 1, got {value}")
        others = self.cp * self.tp * self.pp
        if self.dp_shard == -1:
            if self.world_size % others:
                raise ConfigError(
                    f"expected a world size divisible by cp*tp*pp = {self.cp}*{self.tp}*{self.pp} = {others}, got "
                    f"{self.world_size}; change one of them"
                )
            object.__setattr__(self, "dp_shard", self.world_size // others)
        if self.dp_shard * others != self.world_size:
            raise ConfigError(
                f"expected dp_shard*cp*tp*pp = {self.dp_shard}*{self.cp}*{self.tp}*{self.pp} = {self.dp_shard * others} "
                f"to be the world size, got {self.world_size} processes; start that many or change the layout"
            )
        self._check_experts()

    def _check_experts(self) -> None:
        if self.etp not in (1, self.tp):
            raise ConfigError(
                f"expected etp (tensor parallelism of the experts) to be 1 or tp = {self.tp}, got {self.etp}"
            )
        ranks = self.world_size // self.pp
        if ranks % (self.ep * self.expert_tp):
            raise ConfigError(
                f"expected ep*etp = {self.ep}*{self.expert_tp} = {self.ep * self.expert_tp} to divide the ranks of a stage, "
                f"dp_shard*cp*tp = {self.dp_shard}*{self.cp}*{self.tp} = {ranks}; lower ep or raise dp_shard"
            )

    @classmethod
    def of(cls, strategy: ParallelStrategy, device_type: str) -> ArchonParallelDims:
        """The layout of a backend string such as `archon:d2t2` or `archon:(attn:d4t2|ffn:d1e8)`."""
        return cls(
            dp_shard=strategy.dp_size,
            cp=strategy.cp_size,
            tp=strategy.tp_size,
            pp=strategy.pp_size,
            ep=strategy.ep_size,
            etp=strategy.etp_size,
            world_size=strategy.world_size,
            device_type=device_type,
        )

    @property
    def expert_tp(self) -> int:
        """Ranks among which each expert is cut."""
        return self.tp if self.ep == 1 else self.etp

    @property
    def expert_fsdp(self) -> int:
        """Ranks that hold shards of the same experts."""
        return self.world_size // (self.pp * self.ep * self.expert_tp)

    @property
    def fsdp(self) -> int:
        """Ranks that hold shards of the same dense parameters."""
        return self.dp_shard * self.cp

    @property
    def seq_len_divisor(self) -> int:
        """The number of tokens of every micro-batch must be a multiple of this."""
        return self.tp * self.cp

    @property
    def context_and_model_parallel_size(self) -> int:
        """Ranks that work on the same sequences."""
        return self.cp * self.tp * self.pp

    @property
    def dp_enabled(self) -> bool:
        """Whether different ranks get different sequences."""
        return self.dp_shard > 1

    @property
    def cp_enabled(self) -> bool:
        """Whether sequences are cut into chunks of tokens."""
        return self.cp > 1

    @property
    def tp_enabled(self) -> bool:
        """Whether heads and channels are cut."""
        return self.tp > 1

    @property
    def pp_enabled(self) -> bool:
        """Whether layers are cut into stages."""
        return self.pp > 1

    @property
    def ep_enabled(self) -> bool:
        """Whether experts are spread over ranks."""
        return self.ep > 1

    @property
    def etp_enabled(self) -> bool:
        """Whether each expert is cut."""
        return self.expert_tp > 1

    @cached_property
    def meshes(self) -> MeshViews:
        """The meshes; their creation is collective, and happens at the first use."""
        return MeshViews(self)

    def get_mesh(self, axis: str) -> DeviceMesh:
        """The one-dimensional mesh of an axis; see `MeshViews.axis`."""
        return self.meshes.axis(axis)

    def get_group(self, axis: str) -> dist.ProcessGroup:
        """The process group of an axis that this rank belongs to; it exists also where the axis has one rank."""
        return self.meshes.axis(axis).get_group()

    def local_rank(self, axis: str) -> int:
        """This rank's place along an axis."""
        return self.meshes.axis(axis).get_local_rank()


class MeshViews:
    """All meshes of a layout. Creating it is collective: every rank does it, before anything that asks for a group."""

    def __init__(self, dims: ArchonParallelDims) -> None:
        if not dist.is_initialized() or dist.get_world_size() != dims.world_size:
            size = dist.get_world_size() if dist.is_initialized() else 0
            raise ConfigError(f"expected a default process group of {dims.world_size} processes, got {size}")
        world = init_device_mesh(dims.device_type, (dims.world_size,), mesh_dim_names=("world",))
        sparse = (dims.pp, dims.expert_fsdp, dims.ep, dims.expert_tp)
        self.full = world._unflatten(0, (dims.pp, dims.dp_shard, dims.cp, dims.tp), _FULL_AXES)
        self.dense = world._unflatten(0, (dims.pp, dims.fsdp, dims.tp), _DENSE_AXES)
        self.sparse = world._unflatten(0, sparse, _SPARSE_AXES)
        self.model = self.full["pp", "cp", "tp"]._flatten(MODEL_GROUP)

    def axis(self, axis: str) -> DeviceMesh:
        """The mesh of one axis: pp, dp_shard (dp), cp, tp, dp_shard_cp (dp_cp), dp_shard_mod_ep, ep, etp, pp_cp_tp."""
        name = _ALIASES.get(axis, axis)
        if name == MODEL_GROUP:
            return self.model
        # tp and pp are those of the dense view, which parameters live on.
        for view, axes in ((self.dense, _DENSE_AXES), (self.sparse, _SPARSE_AXES), (self.full, _FULL_AXES)):
            if name in axes:
                return view[name]
        known = sorted({*_FULL_AXES, *_DENSE_AXES, *_SPARSE_AXES, MODEL_GROUP, *_ALIASES})
        raise ValueError(f"expected an axis of {', '.join(known)}, got {axis!r}")
