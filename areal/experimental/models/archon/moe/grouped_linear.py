# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""One linear for each group of rows: torch's grouped product where it fits, one product a group where it does not.

Called by `GroupedExperts`. Dimensions: R rows, O outputs, I inputs, X groups.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# What torch's grouped product takes; strides of its operands, gradients among them, must be multiples of the alignment.
_GROUPED_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_ALIGNMENT_BYTES = 16


class RowGroups:
    """Which rows belong to which group: the first counts_X[0] to group 0, the next counts_X[1] to group 1, and so on."""

    def __init__(self, num_rows: int, counts_X: Tensor) -> None:
        self.num_rows = num_rows
        self.counts_X = counts_X
        self.ends_X = counts_X.cumsum(0, dtype=torch.int32)

    def linear(self, x_RI: Tensor, weight_XOI: Tensor, bias_XO: Tensor | None) -> Tensor:
        """x[r] · weight[group of r]ᵀ + bias[group of r], `[R, O]`; undefined for rows beyond all groups."""
        if self.num_rows and _fits_grouped_mm(x_RI, weight_XOI):
            y_RO = _grouped_mm(x_RI, weight_XOI, self.ends_X)
        else:
            y_RO = self._linear_in_turn(x_RI, weight_XOI)
        return y_RO if bias_XO is None else y_RO + bias_XO.index_select(0, self._groups())

    def _linear_in_turn(self, x_RI: Tensor, weight_XOI: Tensor) -> Tensor:
        """For what the grouped product refuses: odd widths, fp64, and no rows at all, whose zero gradient must exist."""
        counts = self.counts_X.tolist() if self.num_rows else [0] * weight_XOI.shape[0]
        parts = x_RI.split(counts)
        return torch.cat([F.linear(part, weight) for part, weight in zip(parts, weight_XOI.unbind(), strict=True)])

    def _groups(self) -> Tensor:
        """The group of each row; of rows beyond all groups, the last."""
        rows_R = torch.arange(self.num_rows, device=self.ends_X.device, dtype=torch.int32)
        return torch.searchsorted(self.ends_X, rows_R, right=True).clamp_(max=self.ends_X.shape[0] - 1)


def _fits_grouped_mm(x_RI: Tensor, weight_XOI: Tensor) -> bool:
    # The gradient of the result is an operand in the backward, so that both widths count.
    is_aligned = all(width * weight_XOI.element_size() % _ALIGNMENT_BYTES == 0 for width in weight_XOI.shape[1:])
    is_contiguous = x_RI.is_contiguous() and weight_XOI.is_contiguous()
    return is_aligned and is_contiguous and x_RI.dtype == weight_XOI.dtype and weight_XOI.dtype in _GROUPED_DTYPES


def _grouped_mm(x_RI: Tensor, weight_XOI: Tensor, ends_X: Tensor) -> Tensor:
    if torch.compiler.is_compiling() or x_RI.is_meta or type(x_RI) is not Tensor:
        # While traced, or planned without data: torch's shape function of the product knows bf16 only.
        return _grouped_linear(x_RI, weight_XOI, ends_X)
    y_RO = F.grouped_mm(x_RI, weight_XOI.transpose(-2, -1), offs=ends_X)
    if y_RO.requires_grad:
        # The product refuses an expanded gradient (that of a sum). A hook, no function: FSDP wants results that are no views.
        y_RO.register_hook(Tensor.contiguous)
    return y_RO


@torch.library.custom_op("areal::grouped_linear", mutates_args=())
def _grouped_linear(x_RI: Tensor, weight_XOI: Tensor, ends_X: Tensor) -> Tensor:
    return F.grouped_mm(x_RI, weight_XOI.transpose(-2, -1), offs=ends_X)


@torch.library.custom_op("areal::grouped_linear_backward", mutates_args=())
def _grouped_linear_backward(
    grad_RO: Tensor, x_RI: Tensor, weight_XOI: Tensor, ends_X: Tensor
) -> tuple[Tensor, Tensor]:
    grad_RO = grad_RO.contiguous()
    grad_XOI = F.grouped_mm(grad_RO.T, x_RI, offs=ends_X)
    return F.grouped_mm(grad_RO, weight_XOI, offs=ends_X), grad_XOI


@_grouped_linear.register_fake
def _shape_of_linear(x_RI: Tensor, weight_XOI: Tensor, ends_X: Tensor) -> Tensor:
    return x_RI.new_empty(x_RI.shape[0], weight_XOI.shape[1])


@_grouped_linear_backward.register_fake
def _shapes_of_backward(grad_RO: Tensor, x_RI: Tensor, weight_XOI: Tensor, ends_X: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x_RI), torch.empty_like(weight_XOI)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad_RO: Tensor) -> tuple[Tensor, Tensor, None]:
    return *_grouped_linear_backward(grad_RO, *ctx.saved_tensors), None


_grouped_linear.register_autograd(_backward, setup_context=_save)
