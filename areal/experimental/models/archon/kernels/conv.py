# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Causal depthwise convolution over packed sequences, y_t = Σ_s w_s · x_(t - S + 1 + s), with a history at each start.

Called by contexts: training starts each sequence with zeros, a server with the last inputs it kept. Dimensions: N tokens of n
sequences, C channels, S kernel size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def causal_conv(x_NC: Tensor, weight_CS: Tensor, lengths: tuple[int, ...], history: Tensor | None = None) -> Tensor:
    """Convolution of each of the sequences of `lengths` (summing to N): `[N, C]`.

    `history`: the S - 1 inputs before each sequence, `[n, S - 1, C]`; None means zeros.
    """
    kernel = weight_CS.shape[-1]
    if history is None:
        history = x_NC.new_zeros(1, kernel - 1, x_NC.shape[-1]).expand(len(lengths), -1, -1)
    # Each sequence behind its history, so that a tap is a shifted slice of one buffer and needs no mask.
    parts = [part for pair in zip(history.unbind(), x_NC.split(lengths), strict=True) for part in pair]
    buffer = torch.cat(parts)
    y = _Taps.apply(buffer, weight_CS.t())
    if len(lengths) == 1:
        return y
    # Row t of y ends at row t + S - 1 of the buffer: rows that end in the history of the next sequence drop out.
    sizes = [size for length in lengths for size in (length, kernel - 1)][:-1]
    return torch.cat(y.split(sizes)[::2])


class _Taps(torch.autograd.Function):
    """y_m = Σ_s w_s · b_(m + s) of a buffer of M + S - 1 rows; gradients add up in place, which autograd would not do."""

    @staticmethod
    def forward(ctx: Any, buffer: Tensor, taps_SC: Tensor) -> Tensor:
        ctx.save_for_backward(buffer, taps_SC)
        slices = _slices(buffer, len(taps_SC))
        y = slices[0] * taps_SC[0]
        for rows, tap_C in zip(slices[1:], taps_SC[1:], strict=True):
            y.addcmul_(rows, tap_C)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        buffer, taps_SC = ctx.saved_tensors
        dbuffer = torch.zeros_like(buffer)
        for rows, tap_C in zip(_slices(dbuffer, len(taps_SC)), taps_SC, strict=True):
            rows.addcmul_(grad, tap_C)
        dtaps_SC = torch.stack([(grad * rows).sum(0) for rows in _slices(buffer, len(taps_SC))])
        return dbuffer, dtaps_SC


def _slices(buffer: Tensor, kernel: int) -> list[Tensor]:
    """The rows that each tap multiplies."""
    return [buffer[s : len(buffer) - kernel + 1 + s] for s in range(kernel)]


def last_inputs(x_NC: Tensor, kernel: int, lengths: tuple[int, ...], history: Tensor | None = None) -> Tensor:
    """The `history` that the sequences leave behind, `[n, S - 1, C]`."""
    if history is None:
        history = x_NC.new_zeros(1, kernel - 1, x_NC.shape[-1]).expand(len(lengths), -1, -1)
    pairs = zip(history.unbind(), x_NC.split(lengths), strict=True)
    return torch.stack([torch.cat((old, new[max(0, len(new) - kernel + 1) :]))[-(kernel - 1) :] for old, new in pairs])


def conv_step(x_RC: Tensor, weight_CS: Tensor, history_RTC: Tensor) -> tuple[Tensor, Tensor]:
    """One token a row behind its S - 1 last inputs `[R, S - 1, C]`: outputs `[R, C]` and the new history."""
    window = torch.cat((history_RTC, x_RC.unsqueeze(1)), dim=1)
    return (window * weight_CS.t()).sum(1), window[:, 1:]
