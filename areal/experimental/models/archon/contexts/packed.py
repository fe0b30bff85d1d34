# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Tokens of packed sequences that start at their first token: training, evaluation, log-probs. No cache.

Built once a micro-batch, shared by all layers. Sequences may share the rows of a common prefix (`PackedLayout.shared`): then
N counts rows. Never knows which layer asks. Dimensions as in `protocol`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from areal.experimental.models.archon.kernels.attention import Packing, packed_attention
from areal.experimental.models.archon.kernels.conv import causal_conv
from areal.experimental.models.archon.kernels.delta_rule import delta_rule
from areal.experimental.models.archon.model_args import DecoderArgs, ScoreArgs
from areal.experimental.models.archon.modules.rope_frequencies import LENGTH_DEPENDENT
from areal.models.packed_attention.layout import PackedLayout
from areal.utils.errors import ConfigError


class PackedContext:
    """A `MixingContext` over the packed sequences of a micro-batch."""

    def __init__(self, packing: Packing) -> None:
        self.packing = packing

    @classmethod
    def of(
        cls, args: DecoderArgs, cu_seqlens: Tensor, max_seqlen: int, tree_attn_meta: PackedLayout | None = None
    ) -> PackedContext:
        """Context of sequences with these boundaries.

        `tree_attn_meta` is the layout of sequences that share rows, with the same boundaries: each sequence is a path
        from the root of a trie to a leaf, and a row may stand on many paths.
        """
        if tree_attn_meta is not None:
            if len(tree_attn_meta.seq_lens) != len(cu_seqlens) - 1:
                raise ValueError(
                    f"expected a tree of the {len(cu_seqlens) - 1} sequences of cu_seqlens, got one of "
                    f"{len(tree_attn_meta.seq_lens)}; build both from the same micro-batch"
                )
            return cls.of_layout(args, tree_attn_meta)
        return cls(Packing(cu_seqlens, max_seqlen))

    @classmethod
    def of_layout(cls, args: DecoderArgs, layout: PackedLayout) -> PackedContext:
        """Context of a layout, whose lengths are on the host already; `ConfigError` if the model cannot share its rows."""
        if layout.shared is not None:
            _check_sharing(args)
        return cls(Packing(layout.cu_seqlens, layout.max_seqlen, layout))

    def attend(
        self, layer: int, q_NHD: Tensor, k_NKD: Tensor, v_NKW: Tensor, score: ScoreArgs, sinks_H: Tensor | None
    ) -> Tensor:
        """See `MixingContext`."""
        return packed_attention(q_NHD, k_NKD, v_NKW, self.packing, score, sinks_H)

    def convolve(self, layer: int, x_NC: Tensor, weight_CS: Tensor) -> Tensor:
        """See `MixingContext`."""
        (x,) = self._each_token(x_NC)
        return self._each_row(causal_conv(x, weight_CS, self.packing.layout.seq_lens))

    def delta_rule(
        self, layer: int, q_NHD: Tensor, k_NHD: Tensor, v_NHW: Tensor, log_decay_NH: Tensor, beta_NH: Tensor
    ) -> Tensor:
        """See `MixingContext`."""
        inputs = self._each_token(q_NHD, k_NHD, v_NHW, log_decay_NH, beta_NH)
        return self._each_row(delta_rule(*inputs, self.packing.layout.seq_lens)[0])

    def sequence_lengths(self) -> Tensor:
        """See `MixingContext`; on the host, which knows the lengths: on a GPU their repetition would wait for the device."""
        lengths_n = torch.tensor(self.packing.layout.seq_lens)
        return lengths_n.repeat_interleave(lengths_n)

    def _each_token(self, *rows: Tensor) -> tuple[Tensor, ...]:
        """Rows of each token of each sequence: a recurrence goes through a shared prefix once for each sequence."""
        if (shared := self.packing.layout.shared) is None:
            return rows
        token_rows = shared.token_rows.to(rows[0].device)
        return tuple(x.index_select(0, token_rows) for x in rows)

    def _each_row(self, tokens: Tensor) -> Tensor:
        """Back to rows; equal prefixes have equal outputs, so one of them will do."""
        if (shared := self.packing.layout.shared) is None:
            return tokens
        return tokens.index_select(0, shared.first_tokens.to(tokens.device))


def _check_sharing(args: DecoderArgs) -> None:
    """Rows of a shared prefix belong to sequences of several lengths."""
    if by_length := [rope.kind for rope in args.ropes.values() if rope.kind in LENGTH_DEPENDENT]:
        raise ConfigError(
            f"expected rotary tables that are the same for sequences of all lengths where they share prefixes, got "
            f"rope_type {by_length[0]}; switch prefix sharing (tree training) off"
        )
