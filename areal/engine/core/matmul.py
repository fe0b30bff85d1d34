# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""One fp32 matrix-product backend for all ranks of a CPU run, the faster one for the shapes of the model."""

from __future__ import annotations

from torch import nn

from areal.engine.core.topology import Topology
from areal.utils.cpu_backend import choose_cpu_matmul, set_cpu_matmul

# Shapes for timing matmul backends: the rows of a small micro-batch, and layers cut to where the ratio no longer changes.
_TIMED_ROWS = 256
_MAX_TIMED_WIDTH = 2048


def fix_cpu_matmul(module: nn.Module, topology: Topology) -> None:
    """Choose for all ranks alike: a backend per rank would give each its own rounding. Collective."""
    backend = None
    if topology.rank == 0:
        linears = [module for module in module.modules() if isinstance(module, nn.Linear)]
        widths = {(min(m.in_features, _MAX_TIMED_WIDTH), min(m.out_features, _MAX_TIMED_WIDTH)) for m in linears}
        backend = choose_cpu_matmul([(_TIMED_ROWS, *width) for width in sorted(widths)]).backend
    set_cpu_matmul(topology.broadcast_from_first(backend))
