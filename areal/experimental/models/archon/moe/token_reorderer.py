# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Token order: rows of (token, choice) pairs sorted by expert, and the way back.

Called by `MoE`. Gather and weighted sum are each other's adjoint, so both run as one gather-like kernel in both directions:
no scatter, hence no atomics and the same bits in every run. Must never move a device value to the host.
Dimensions: N tokens, E hidden width, X experts, K choices a token, R = N·K rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class TokenOrder(NamedTuple):
    """Row r belongs to token `tokens[r]`, int64 `[R]`; the k-th choice of token n is row `rows[n, k]`, int64 `[N, K]`.

    `slots[r]` is the pair (token, choice) of row r, numbered token · K + choice. The first `counts[0]` rows belong to expert
    0, the next `counts[1]` to expert 1, and so on, int64 `[X]`; within an expert, rows keep the order of tokens.
    """

    tokens: Tensor
    slots: Tensor
    rows: Tensor
    counts: Tensor


class TokenReorderer(nn.Module):
    """Sorts the choices of all tokens by expert."""

    def __init__(self, num_experts: int, top_k: int) -> None:
        super().__init__()
        self.num_experts, self.top_k = num_experts, top_k

    def forward(self, experts_NK: Tensor) -> TokenOrder:
        """The order of the choices `[N, K]`."""
        sorted_R, slots_R = experts_NK.flatten().sort(stable=True)
        rows_R = torch.empty_like(slots_R).scatter_(0, slots_R, torch.arange(slots_R.numel(), device=slots_R.device))
        bounds_X = torch.arange(self.num_experts, device=slots_R.device)
        ends_X = torch.searchsorted(sorted_R, bounds_X, right=True)
        counts_X = ends_X.diff(prepend=ends_X.new_zeros(1))
        return TokenOrder(slots_R // self.top_k, slots_R, rows_R.view_as(experts_NK), counts_X)


def gather_rows(x_NE: Tensor, order: TokenOrder) -> Tensor:
    """The token of each row, `[R, E]`."""
    return _GatherRows.apply(x_NE, order.tokens, order.rows)


def sum_rows(rows_RE: Tensor, order: TokenOrder, weights_NK: Tensor | None = None) -> Tensor:
    """Σ_k weights[n, k] · row[n, k], `[N, E]`; without weights the plain sum. Accumulates in fp32."""
    if weights_NK is None:
        return _SumRows.apply(rows_RE, order.tokens, order.rows)
    return _WeightedSumRows.apply(rows_RE, weights_NK, order.tokens, order.slots, order.rows)


def _bag(rows_RE: Tensor, rows_NK: Tensor, weights_NK: Tensor | None = None) -> Tensor:
    """One kernel for gather, weights and sum, which materialises no `[N, K, E]`."""
    return F.embedding_bag(rows_NK, rows_RE, mode="sum", per_sample_weights=weights_NK)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NE: Tensor, tokens_R: Tensor, rows_NK: Tensor) -> Tensor:
        ctx.save_for_backward(rows_NK)
        return x_NE.index_select(0, tokens_R)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_RE: Tensor) -> tuple[Tensor, None, None]:
        (rows_NK,) = ctx.saved_tensors
        return _bag(grad_RE.contiguous(), rows_NK), None, None


class _SumRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_RE: Tensor, tokens_R: Tensor, rows_NK: Tensor) -> Tensor:
        ctx.save_for_backward(tokens_R)
        return _bag(rows_RE, rows_NK)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NE: Tensor) -> tuple[Tensor, None, None]:
        (tokens_R,) = ctx.saved_tensors
        return grad_NE.index_select(0, tokens_R), None, None


class _WeightedSumRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows_RE: Tensor, weights_NK: Tensor, tokens_R: Tensor, slots_R: Tensor, rows_NK: Tensor
    ) -> Tensor:
        ctx.save_for_backward(rows_RE, weights_NK, tokens_R, slots_R, rows_NK)
        return _bag(rows_RE, rows_NK, weights_NK.to(rows_RE.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NE: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        rows_RE, weights_NK, tokens_R, slots_R, rows_NK = ctx.saved_tensors
        weights_R1 = weights_NK.flatten().index_select(0, slots_R).to(grad_NE.dtype).unsqueeze(-1)
        grad_RE = grad_NE.index_select(0, tokens_R).mul_(weights_R1)
        return grad_RE, _dot_rows(grad_NE, rows_RE, rows_NK).to(weights_NK.dtype), None, None, None


def _dot_rows(grad_NE: Tensor, rows_RE: Tensor, rows_NK: Tensor) -> Tensor:
    """grad[n] · row[n, k], `[N, K]`. The aten operator is what autograd runs for `embedding_bag`'s weights: 3x faster on the
    CPU than gather, product and sum."""
    num_choices = rows_NK.shape[1]
    slots_R = torch.arange(rows_NK.numel(), device=rows_NK.device)
    flat_R = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        grad_NE.contiguous(),
        rows_RE,
        rows_NK.flatten(),
        slots_R[::num_choices].contiguous(),
        slots_R // num_choices,
        0,  # mode: sum
    )
    return flat_R.view_as(rows_NK)
