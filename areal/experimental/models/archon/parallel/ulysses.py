# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Context parallelism by Ulysses (Jacobs et al. 2023): ranks hold chunks of the tokens, but whole sequences of some heads.

A context around another one: before tokens meet, an all-to-all turns a rank's tokens with all heads into all tokens with a rank's
heads; another one turns the results back. Layers do not notice. Third step of `parallelize_decoder`.
Dimensions: N tokens, n = N/P tokens of a rank, P ranks, H, K heads of queries and keys (those of this tensor-parallel rank),
h = H/P, D, W widths, C channels, S kernel size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from areal.experimental.models.archon.contexts.protocol import MixingContext
from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.model_args import ScoreArgs
from areal.experimental.models.archon.parallel.collectives import exchange_blocks, gather_same


def apply_context_parallel(model: ArchonModel, group: ProcessGroup) -> None:
    """Let `forward` take a chunk of the tokens, with `cu_seqlens` of all of them."""
    whole = model.make_context

    def make_context(cu_seqlens: Tensor, max_seqlen: int, tree_attn_meta: Any) -> UlyssesContext:
        return UlyssesContext(whole(cu_seqlens, max_seqlen, tree_attn_meta), group)

    model.make_context = make_context


def slice_inputs(x: Tensor, rank: int, size: int) -> Tensor:
    """The chunk of tensors `[1, N, ...]` (tokens, positions, labels) that context-parallel rank `rank` of `size` works on."""
    if x.shape[1] % size:
        raise ValueError(f"expected a number of tokens divisible by cp = {size}, got {x.shape[1]}; pad the micro-batch")
    return x.chunk(size, dim=1)[rank]


def gather_outputs(x: Tensor, group: ProcessGroup) -> Tensor:
    """All tokens' outputs `[1, N, ...]` of chunks `[1, n, ...]`, for a loss that every rank of the group computes alike.

    The gradient of a chunk is its rank's own. Summed over ranks, as FSDP does, gradients are then those of one loss.
    """
    return gather_same(x.squeeze(0), group).unsqueeze(0)


class UlyssesContext:
    """A `MixingContext` over chunks of tokens."""

    def __init__(self, inner: MixingContext, group: ProcessGroup) -> None:
        self.inner = inner
        self._group = group

    def attend(
        self, layer: int, q_NHD: Tensor, k_NKD: Tensor, v_NKW: Tensor, score: ScoreArgs, sinks_H: Tensor | None
    ) -> Tensor:
        """See `MixingContext`; key heads are repeated where there are fewer than ranks."""
        repeats = max(1, self._group.size() // k_NKD.shape[1])
        if repeats > 1:
            k_NKD, v_NKW = k_NKD.repeat_interleave(repeats, dim=1), v_NKW.repeat_interleave(repeats, dim=1)
        q, k, v = self._to_heads(q_NHD, k_NKD, v_NKW)
        sinks = None if sinks_H is None else self._own_heads(sinks_H)
        return self._to_tokens(self.inner.attend(layer, q, k, v, score, sinks))

    def convolve(self, layer: int, x_NC: Tensor, weight_CS: Tensor) -> Tensor:
        """See `MixingContext`; channels take the place of heads."""
        (x,) = self._to_heads(x_NC.unsqueeze(-1))
        y = self.inner.convolve(layer, x.squeeze(-1), self._own_heads(weight_CS))
        return self._to_tokens(y.unsqueeze(-1)).squeeze(-1)

    def delta_rule(
        self, layer: int, q_NHD: Tensor, k_NHD: Tensor, v_NHW: Tensor, log_decay_NH: Tensor, beta_NH: Tensor
    ) -> Tensor:
        """See `MixingContext`."""
        q, k, v = self._to_heads(q_NHD, k_NHD, v_NHW)
        (log_decay,) = self._to_heads(log_decay_NH.unsqueeze(-1))
        (beta,) = self._to_heads(beta_NH.unsqueeze(-1))
        return self._to_tokens(self.inner.delta_rule(layer, q, k, v, log_decay.squeeze(-1), beta.squeeze(-1)))

    def sequence_lengths(self) -> Tensor:
        """See `MixingContext`."""
        return self._own_heads(self.inner.sequence_lengths())

    def _to_heads(self, *parts_nHD: Tensor) -> list[Tensor]:
        """`[N, h, D]` of several `[n, H, D]` of one dtype, by one collective."""
        size = self._group.size()
        # [P, n, h·D]: what each rank is to get.
        blocks = [part.unflatten(1, (size, -1)).movedim(1, 0).flatten(2) for part in parts_nHD]
        received = exchange_blocks(torch.cat(blocks, dim=-1).flatten(0, 1), self._group)
        split = received.split([block.shape[-1] for block in blocks], dim=-1)
        return [rows.unflatten(1, (-1, part.shape[-1])) for rows, part in zip(split, parts_nHD, strict=True)]

    def _to_tokens(self, y_NhW: Tensor) -> Tensor:
        """`[n, H, W]`."""
        received = exchange_blocks(y_NhW, self._group)
        return received.unflatten(0, (self._group.size(), -1)).movedim(0, 1).flatten(1, 2)

    def _own_heads(self, x: Tensor) -> Tensor:
        """This rank's part along dim 0 of what every rank has."""
        return x.chunk(self._group.size())[self._group.rank()]
