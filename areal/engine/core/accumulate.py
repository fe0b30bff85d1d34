# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Forward and backward over micro-batches so that the loss depends neither on the cut nor on the number of ranks.

With micro-batch losses L_i (means over their own weight w_i) and W = sum of w_i over micro-batches and ranks, the
objective is sum_i L_i w_i / W. Each backward is scaled by w_i / W, and gradients are summed, never averaged, over ranks.
Micro-batches of weight zero run only where other ranks wait for their collectives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from areal.api.engine_api import LossFn, LossWeightFn
from areal.engine.core.model import PackedInputs, PackedModel
from areal.engine.core.topology import Topology
from areal.models.packed_attention.dense import MAX_DENSE_LENGTH
from areal.utils.data import MicroBatchList


def micro_batch_weights(micro_batches: MicroBatchList, loss_weight_fn: LossWeightFn) -> Tensor:
    """Weight of each micro-batch, 0 for dummies: float64 `[n]` on the CPU (one device synchronisation)."""
    weights = [
        torch.zeros(()) if micro_batches.is_dummy(position) else torch.as_tensor(loss_weight_fn(mb))
        for position, mb in enumerate(micro_batches)
    ]
    return torch.stack([weight.detach().to(torch.float64) for weight in weights]).cpu()


def global_weight(weights: Tensor, topology: Topology) -> float:
    """W, the sum of all weights of all ranks; `ValueError` on every rank when it is not positive."""
    total = float(topology.all_reduce_sum(weights.sum().to(topology.device)))
    if not total > 0.0:
        raise ValueError(
            f"expected a positive loss weight over all micro-batches and ranks, got {total}: no token of the batch is to "
            "be trained on; check loss_mask"
        )
    return total


def forward_backward(
    model: PackedModel,
    micro_batches: MicroBatchList,
    loss_fn: LossFn,
    weights: Tensor,
    total_weight: float,
    temperature: float,
    topology: Topology,
) -> Tensor:
    """Accumulate gradients of the objective (or, without gradients enabled, only compute it).

    Returns the objective summed over all ranks: a detached float64 scalar.
    """
    device = topology.device
    objective = torch.zeros((), dtype=torch.float64, device=device)
    last = len(micro_batches) - 1
    for position, (mb, weight) in enumerate(zip(micro_batches, weights.tolist(), strict=True)):
        if weight == 0.0 and not model.must_run_in_step():
            continue
        if torch.is_grad_enabled():
            model.set_gradient_sync(position == last)
        logprobs, entropy = logprobs_of(model, mb, temperature, device, with_entropy=True)
        if weight == 0.0:
            scaled = logprobs.sum() * 0.0
        else:
            assert entropy is not None
            scaled = loss_fn(logprobs, entropy, mb) * (weight / total_weight)
            objective += scaled.detach()
        if torch.is_grad_enabled():
            scaled.backward()
    return topology.all_reduce_sum(objective)


def logprobs_of(
    model: PackedModel, micro_batch: dict[str, Any], temperature: float, device: torch.device, with_entropy: bool
) -> tuple[Tensor, Tensor | None]:
    """Prediction-aligned log-probs and entropies `[T]`; the log-prob at the last token of each sequence is 0."""
    # Long sequences go through kernels that want their rows side by side.
    share_prefixes = model.shares_prefixes and micro_batch["max_seqlen"] <= MAX_DENSE_LENGTH
    inputs = PackedInputs.of(micro_batch, device, share_prefixes)
    logprobs, entropy = model.logprobs(inputs, temperature, with_entropy)
    logprobs = inputs.per_token(logprobs).masked_fill(~inputs.has_label, 0.0)
    return logprobs, None if entropy is None else inputs.per_token(entropy)
