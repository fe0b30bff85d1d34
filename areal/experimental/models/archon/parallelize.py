# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The `parallelize_fn` of families that need nothing of their own.

Imports the parallel package when it is called: a process that only runs a model (embedded server, proof, scaffolder) loads
families, and must not pay for meshes and FSDP.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from areal.experimental.models.archon.model import ArchonModel


def parallelize_by_roles(model: ArchonModel, parallel_dims: Any, **options: Any) -> nn.Module:
    """All shared steps, derived from the roles of the layers; see `parallel.parallelize.parallelize_decoder`."""
    from areal.experimental.models.archon.parallel.parallelize import parallelize_decoder

    return parallelize_decoder(model, parallel_dims, **options)
