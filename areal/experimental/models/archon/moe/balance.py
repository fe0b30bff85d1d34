# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Balancing of experts: selection biases without a loss (Wang et al. 2024), coefficients of the losses, statistics of load.

Called by the engine, once an optimizer step. Must never move a device value to the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from areal.experimental.models.archon.moe.losses import RouterLosses
from areal.experimental.models.archon.moe.moe import MoE, moe_layers


def set_router_losses(model: nn.Module, losses: RouterLosses | None) -> None:
    """Add these losses to the objective from the next forward on; None: none."""
    for layer in moe_layers(model).values():
        layer.router_losses = losses


def set_router_dtype(model: nn.Module, dtype: torch.dtype | None) -> None:
    """Compute router logits in `dtype`; None: in the dtype of the weights."""
    for layer in moe_layers(model).values():
        layer.router.gate.compute_dtype = dtype


def update_expert_biases(
    model: nn.Module, coeff: float, reduce: Callable[[Tensor], Tensor] = lambda counts: counts
) -> dict[str, Tensor]:
    """Move selection biases against the load since the last call, forget that load, and return its statistics.

    b_x += coeff · (s_x - mean(s)) with s_x = sign(mean(c) - c_x) and c_x the number of tokens that chose expert x (Wang et al. 2024,
    algorithm 1; the mean keeps biases from drifting together). Call after the optimizer step, on every rank that shares a
    layer: a layer's biases stay equal on all of them only if `reduce` gives them the same counts.

    Args:
        model: a model or a pipeline stage.
        coeff: step of the biases, e.g. 1e-3; 0 leaves them.
        reduce: sum of an int64 vector over all ranks that route different tokens; one call for all layers.
    """
    layers = list(moe_layers(model).values())
    if not layers:
        return {}
    flat = reduce(torch.cat([layer.tokens_per_expert for layer in layers]))
    loads = flat.split([layer.args.num_experts for layer in layers])
    for layer, counts_X in zip(layers, loads, strict=True):
        _move_bias(layer, counts_X, coeff)
        layer.tokens_per_expert.zero_()
    return load_statistics(loads)


def _move_bias(layer: MoE, counts_X: Tensor, coeff: float) -> None:
    bias_X = layer.router.expert_bias
    if bias_X is None or coeff == 0.0:
        return
    counts_X = counts_X.double()  # exact: fp32 rounds counts over 2^24
    sign_X = torch.sign(counts_X.mean() - counts_X)
    bias_X.add_((coeff * (sign_X - sign_X.mean())).to(bias_X.dtype))


def load_statistics(loads: Sequence[Tensor]) -> dict[str, Tensor]:
    """Means over layers of counts `[X]`, as tensors on their device.

    `moe/max_load`: tokens of the busiest expert over the mean (1: balanced). `moe/min_load`: of the idlest.
    `moe/load_entropy`: entropy of the shares over that of equal ones (1: balanced, 0: one expert). `moe/dropped`: 0, always.
    """
    rows = [_layer_statistics(counts_X.double()) for counts_X in loads]
    highest, lowest, entropy = torch.stack(rows).mean(dim=0).unbind()
    return {
        "moe/max_load": highest,
        "moe/min_load": lowest,
        "moe/load_entropy": entropy,
        "moe/dropped": torch.zeros_like(highest),
    }


def _layer_statistics(counts_X: Tensor) -> Tensor:
    mean = counts_X.mean().clamp(min=torch.finfo(counts_X.dtype).tiny)  # nothing routed: all zero, not nan
    share_X = counts_X / (mean * counts_X.numel())
    entropy = torch.special.entr(share_X).sum() / torch.log(torch.tensor(max(counts_X.numel(), 2), dtype=torch.float64))
    return torch.stack((counts_X.max() / mean, counts_X.min() / mean, entropy))
