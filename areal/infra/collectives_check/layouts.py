# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Which layouts are tried on a number of ranks, and which collectives run along which axis. Imports without torch."""

from __future__ import annotations

from areal.api.alloc_mode import ModelAllocation, ParallelStrategy
from areal.utils.errors import ConfigError

# What each axis carries in training: see `parallel/collectives.py` of Archon, `engine/core/topology.py` and FSDP2.
AXES: dict[str, tuple[str, ...]] = {
    "world": ("barrier", "all_reduce_sum", "broadcast", "broadcast_object", "all_gather_object"),
    "dp_shard": ("all_reduce_sum", "all_reduce_max"),
    "dp_shard_cp": ("all_gather", "reduce_scatter"),
    "tp": ("all_gather", "gather_backward", "reduce_scatter", "all_reduce_sum", "all_reduce_max"),
    "cp": ("all_to_all",),
    "ep": ("all_to_all_uneven",),
    "etp": ("all_gather", "reduce_scatter"),
    "dp_shard_mod_ep": ("all_gather", "reduce_scatter"),
    "pp": ("send_recv", "broadcast", "all_gather_object"),
}


def default_layouts(num_ranks: int) -> list[str]:
    """All ranks along each axis in turn, and where there are enough, axes combined."""
    if num_ranks == 1:
        return ["d1"]
    layouts = [f"{axis}{num_ranks}" for axis in "dtcp"] + [f"d{num_ranks}e{num_ranks}"]
    if num_ranks % 4 == 0:
        layouts += [f"d{num_ranks // 4}t2p2", f"d{num_ranks // 4}t2c2e4"]
    return layouts


def parse_layout(text: str, num_ranks: int) -> ParallelStrategy:
    """The sizes of `d2t2`, `archon:d2t2` or `archon:(attn:...|ffn:...)`; they must take all ranks."""
    spec = text if ":" in text.split("(")[0] else f"archon:{text}"
    parallel = ModelAllocation.from_str(spec).parallel
    if parallel.world_size != num_ranks:
        raise ConfigError(
            f"expected a layout of {num_ranks} ranks, got {text!r}, which takes {parallel.world_size}; change -n or --layout"
        )
    return parallel
