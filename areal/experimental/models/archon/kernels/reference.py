# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Masked softmax attention over packed tokens in plain torch: what every back-end must equal. For tests; needs `[N, N]` memory.

Dimensions: N tokens, H query heads, K key heads, D query/key width, W value width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from areal.experimental.models.archon.model_args import ScoreArgs


def masked_attention(
    q_NHD: Tensor, k_NKD: Tensor, v_NKW: Tensor, visible_NN: Tensor, score: ScoreArgs, sinks_H: Tensor | None
) -> Tensor:
    """`[N, H, W]`: softmax over the visible keys of softcap(scale · q k), with the sinks in the denominator, times v."""
    groups = q_NHD.shape[1] // k_NKD.shape[1]
    k, v = k_NKD.repeat_interleave(groups, dim=1), v_NKW.repeat_interleave(groups, dim=1)
    scores_HNN = torch.einsum("nhd,mhd->hnm", q_NHD, k).float() * score.scale
    if score.softcap is not None:
        scores_HNN = torch.tanh(scores_HNN / score.softcap) * score.softcap
    scores_HNN = scores_HNN.masked_fill(~visible_NN, float("-inf"))
    if sinks_H is not None:
        sinks = sinks_H.float()[:, None, None].expand(-1, scores_HNN.shape[1], 1)
        scores_HNN = torch.cat((scores_HNN, sinks), dim=-1)
    probs_HNN = scores_HNN.softmax(-1)[..., : k.shape[0]].to(v.dtype)
    return torch.einsum("hnm,mhw->nhw", probs_HNN, v)


def visibility(lengths: tuple[int, ...], window: int | None = None, chunk: int | None = None) -> Tensor:
    """Bool `[N, N]`: whether a query (dim 0) sees a key (dim 1) of packed sequences of `lengths`."""
    lengths_n = torch.tensor(lengths)
    sequence_N = torch.arange(len(lengths)).repeat_interleave(lengths_n)
    position_N = torch.cat([torch.arange(length) for length in lengths])
    ahead_NN = position_N[:, None] - position_N
    visible_NN = (sequence_N[:, None] == sequence_N) & (ahead_NN >= 0)
    if window is not None:
        visible_NN &= ahead_NN < window
    if chunk is not None:
        visible_NN &= position_N[:, None] // chunk == position_N // chunk
    return visible_NN
