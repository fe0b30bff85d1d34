# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Tokens of packed sequences that start at their first token: training, evaluation, log-probs. No cache.

Built once a micro-batch, shared by all layers. Sequences may share the rows of a common prefix (`PackedLayout.shared`): then
N counts rows. Never knows which layer asks. Dimensions as in `protocol`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from areal.experimental.models.archon.kernels.conv import causal_conv
from areal.experimental.models.archon.kernels.delta_rule import delta_rule
from areal.experimental.models.archon.kernels.reference import masked_attention, visibility
from areal.experimental.models.archon.model_args import DecoderArgs, ScoreArgs
from areal.models.packed_attention.dense import dense_packed_attention
from areal.models.packed_attention.layout import PackedLayout


class PackedContext:
    """A `MixingContext` over a `PackedLayout`."""

    def __init__(self, layout: PackedLayout) -> None:
        self.layout = layout

    @classmethod
    def of(
        cls, args: DecoderArgs, cu_seqlens: Tensor, max_seqlen: int, tree_attn_meta: PackedLayout | None = None
    ) -> PackedContext:
        """Context of sequences with these boundaries; `tree_attn_meta` is the layout where sequences share prefixes."""
        if tree_attn_meta is not None:
            return cls.of_layout(args, tree_attn_meta)
        lengths = cu_seqlens.diff().tolist()
        return cls.of_layout(args, PackedLayout(tuple(lengths), cu_seqlens))

    @classmethod
    def of_layout(cls, args: DecoderArgs, layout: PackedLayout) -> PackedContext:
        """Context of a layout whose lengths are on the host already."""
        return cls(layout)

    def attend(
        self, layer: int, q_NHD: Tensor, k_NKD: Tensor, v_NKW: Tensor, score: ScoreArgs, sinks_H: Tensor | None
    ) -> Tensor:
        """See `MixingContext`."""
        if score.softcap is None and sinks_H is None and score.chunk is None:
            return dense_packed_attention(q_NHD, k_NKD, v_NKW, self.layout, score.scale, score.window)
        visible_NN = visibility(self.layout.seq_lens, score.window, score.chunk)
        return masked_attention(q_NHD, k_NKD, v_NKW, visible_NN, score, sinks_H)

    def convolve(self, layer: int, x_NC: Tensor, weight_CS: Tensor) -> Tensor:
        """See `MixingContext`."""
        return causal_conv(x_NC, weight_CS, self.layout.seq_lens)

    def delta_rule(
        self, layer: int, q_NHD: Tensor, k_NHD: Tensor, v_NHW: Tensor, log_decay_NH: Tensor, beta_NH: Tensor
    ) -> Tensor:
        """See `MixingContext`."""
        return delta_rule(q_NHD, k_NHD, v_NHW, log_decay_NH, beta_NH, self.layout.seq_lens)[0]

    def sequence_lengths(self) -> Tensor:
        """See `MixingContext`."""
        lengths_n = torch.tensor(self.layout.seq_lens, device=self.layout.cu_seqlens.device)
        return lengths_n.repeat_interleave(lengths_n)
