# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Causal depthwise convolution over packed sequences, y_t = Σ_s w_s · x_(t - S + 1 + s), with a history at each start.

Called by contexts: training starts each sequence with zeros, a server with the last inputs it kept. Plain differentiable
torch. Dimensions: N tokens of n sequences, C channels, S kernel size.
"""

from __future__ import annotations

import torch
from torch import Tensor


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
    num_rows = buffer.shape[0] - kernel + 1
    taps_SC = weight_CS.t()
    y = buffer[:num_rows] * taps_SC[0]
    for s in range(1, kernel):
        y = torch.addcmul(y, buffer[s : s + num_rows], taps_SC[s])
    if len(lengths) == 1:
        return y
    # Row t of y ends at row t + S - 1 of the buffer: rows that end in the history of the next sequence drop out.
    sizes = [size for length in lengths for size in (length, kernel - 1)][:-1]
    return torch.cat(y.split(sizes)[::2])


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
