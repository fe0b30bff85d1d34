# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The objective of a batch, which depends neither on its cut into micro-batches nor on the number of ranks.

With micro-batch losses L_i (means over their own weight w_i) and W = sum of w_i over micro-batches and ranks, the
objective is sum_i L_i w_i / W. Each backward is scaled by w_i / W, and gradients are summed, never averaged, over ranks.
Micro-batches of weight zero run only where other ranks wait for their collectives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from areal.api.engine_api import LossWeightFn
from areal.engine.core.topology import Topology
from areal.utils.data import MicroBatchList


def micro_batch_weights(micro_batches: MicroBatchList, loss_weight_fn: LossWeightFn) -> Tensor:
    """Weight of each micro-batch, 0 for dummies: float64 `[n]` on the CPU (one device synchronisation)."""
    weights = [
        torch.as_tensor(0.0 if micro_batches.is_dummy(position) else loss_weight_fn(mb), device=mb["input_ids"].device)
        for position, mb in enumerate(micro_batches)
    ]
    return torch.stack([weight.detach().to(torch.float64) for weight in weights]).cpu()


def global_weight(weights: Tensor, topology: Topology) -> float:
    """W, the sum of all weights of all ranks; `ValueError` on every rank when it is not positive."""
    total = float(topology.sum_over_data(weights.sum().to(topology.device)))
    if not total > 0.0:
        raise ValueError(
            f"expected a positive loss weight over all micro-batches and ranks, got {total}: no token of the batch is to "
            "be trained on; check loss_mask"
        )
    return total
