# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Reductions over the sequences behind per-token tensors, padded `[B, S]` or packed `[T]` with `cu_seqlens`.

Called by the losses that need a per-sequence quantity (GSPO ratio, sequence-level rejection, sequence means).
Never synchronises with the device.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Segments:
    """The sequences of one micro-batch: which sequence each token belongs to, and reductions per sequence.

    Args:
        like: any per-token tensor, `[B, S]` (one sequence a row) or `[T]` (packed).
        cu_seqlens: `[num + 1]` integer boundaries of packed sequences, from 0 to T; needed for 1-D data.

    Raises:
        ValueError: packed data without `cu_seqlens`, or tensors of another rank.
    """

    def __init__(self, like: Tensor, cu_seqlens: Tensor | None = None) -> None:
        self.shape = like.shape
        if like.ndim == 2:
            self.num = like.shape[0]
            seq_lens = torch.full((self.num,), like.shape[1], device=like.device)
        elif like.ndim == 1 and cu_seqlens is not None:
            self.num = cu_seqlens.numel() - 1
            seq_lens = cu_seqlens.diff().to(like.device)
        else:
            raise ValueError(
                f"expected [B, S] tensors, or packed [T] tensors with cu_seqlens; got shape {tuple(like.shape)} and "
                f"cu_seqlens={cu_seqlens}: pass the cu_seqlens of the packed micro-batch"
            )
        seq_ids = torch.arange(self.num, device=like.device)
        self.seq_of_token = torch.repeat_interleave(seq_ids, seq_lens, output_size=like.numel())

    def sum(self, x: Tensor, mask: Tensor) -> Tensor:
        """Sum of `x` where `mask` (bool) is set, per sequence: `[num]`."""
        kept = torch.where(mask, x, 0).flatten()
        return kept.new_zeros(self.num).index_add(0, self.seq_of_token, kept)

    def count(self, mask: Tensor) -> Tensor:
        """Number of set entries per sequence: `[num]` float32."""
        return self.sum(torch.ones_like(mask, dtype=torch.float32), mask)

    def mean(self, x: Tensor, mask: Tensor) -> Tensor:
        """Masked mean per sequence, 0 where a sequence has no set entry: `[num]`."""
        return self.sum(x, mask) / self.count(mask).clamp(min=1)

    def max(self, x: Tensor, mask: Tensor) -> Tensor:
        """Masked maximum per sequence, 0 where a sequence has no set entry: `[num]`."""
        kept = torch.where(mask, x, -torch.inf).flatten()
        top = kept.new_full((self.num,), -torch.inf).scatter_reduce(0, self.seq_of_token, kept, "amax")
        return torch.where(self.count(mask) > 0, top, 0)

    def spread(self, per_seq: Tensor) -> Tensor:
        """Give each token the value of its sequence: `[num]` to the shape of the tokens."""
        return per_seq[self.seq_of_token].view(self.shape)
