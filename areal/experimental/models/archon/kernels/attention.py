# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Softmax attention over packed sequences behind one function: which back-end computes it follows from declared needs alone.

| back-end | devices | dtypes | computes |
| varlen | cuda | fp16, bf16 | windows, chunks, sinks, grouped heads, narrower values, heads up to 256 |
| dense | any | any | all of `ScoreArgs`, shared prefixes (without chunks) |

Called by contexts. Never ignores a need: what no back-end of a device computes is a `ConfigError`. Dimensions: N tokens, H
query heads, K key heads, D query/key width, W value width.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from areal.experimental.models.archon.kernels.varlen import varlen_attention
from areal.experimental.models.archon.model_args import ScoreArgs
from areal.models.packed_attention.dense import dense_packed_attention
from areal.models.packed_attention.layout import PackedLayout
from areal.models.packed_attention.varlen import MAX_HEAD_DIM
from areal.utils.errors import ConfigError


class Packing:
    """Boundaries of packed sequences, where a back-end wants them: on the device, or as lengths on the host.

    Host lengths of boundaries that came on a GPU cost a synchronisation, so they are made at their first use.
    """

    def __init__(self, cu_seqlens: Tensor, max_seqlen: int, layout: PackedLayout | None = None) -> None:
        self.cu_seqlens, self.max_seqlen = cu_seqlens, max_seqlen
        self._layout = layout
        self._chunked: dict[int, Packing] = {}

    @cached_property
    def layout(self) -> PackedLayout:
        """Lengths on the host, and the rows that sequences share."""
        if self._layout is not None:
            return self._layout
        lengths = self.cu_seqlens.diff().tolist()
        return PackedLayout(tuple(length for length in lengths if length > 0), self.cu_seqlens)

    @property
    def shares_prefixes(self) -> bool:
        """Whether rows of a common prefix stand in several sequences."""
        return self._layout is not None and self._layout.shared is not None

    def chunked(self, chunk: int) -> Packing:
        """Each sequence cut into pieces of `chunk` tokens: attention within chunks is attention within the pieces."""
        if chunk >= self.max_seqlen:
            return self
        if chunk not in self._chunked:
            pieces = [
                min(chunk, length - start) for length in self.layout.seq_lens for start in range(0, length, chunk)
            ]
            boundaries = torch.tensor([0, *itertools.accumulate(pieces)], dtype=torch.int32)
            layout = PackedLayout(tuple(pieces), boundaries.to(self.cu_seqlens.device))
            self._chunked[chunk] = Packing(layout.cu_seqlens, chunk, layout)
        return self._chunked[chunk]


AttentionKernel = Callable[[Tensor, Tensor, Tensor, Packing, ScoreArgs, Tensor | None], Tensor]


def packed_attention(
    q_NHD: Tensor, k_NKD: Tensor, v_NKW: Tensor, packing: Packing, score: ScoreArgs, sinks_H: Tensor | None
) -> Tensor:
    """Causal softmax attention within each sequence: `[N, H, W]`."""
    head_dim = max(q_NHD.shape[-1], v_NKW.shape[-1])
    kernel = choose_kernel(score, head_dim, q_NHD.device.type, q_NHD.dtype, packing.shares_prefixes)
    if score.chunk is not None:
        packing = packing.chunked(score.chunk)
    return kernel(q_NHD, k_NKD, v_NKW, packing, score, sinks_H)


def choose_kernel(
    score: ScoreArgs, head_dim: int, device_type: str, dtype: torch.dtype, shares_prefixes: bool
) -> AttentionKernel:
    """The back-end for these needs; `ConfigError` naming the need that none of them meets."""
    if score.chunk is not None and shares_prefixes:
        raise ConfigError(
            f"expected attention over whole sequences where they share prefixes, got chunks of {score.chunk} tokens; none "
            "of the back-ends (varlen, dense) cuts a shared prefix. Switch prefix sharing (tree training) off"
        )
    is_short_float = dtype in (torch.bfloat16, torch.float16)
    has_flash = device_type == "cuda" and is_short_float and head_dim <= MAX_HEAD_DIM
    return varlen_attention if has_flash and score.softcap is None and not shares_prefixes else dense_attention


def dense_attention(
    q_NHD: Tensor, k_NKD: Tensor, v_NKW: Tensor, packing: Packing, score: ScoreArgs, sinks_H: Tensor | None
) -> Tensor:
    """`[N, H, W]` by length-bucketed matrix products; see `packed_attention`."""
    if packing.layout.num_tokens != q_NHD.shape[0]:
        raise ValueError(
            f"expected as many tokens as cu_seqlens covers, {packing.layout.num_tokens}, got {q_NHD.shape[0]}; pad with a "
            "sequence of its own"
        )
    return dense_packed_attention(
        q_NHD, k_NKD, v_NKW, packing.layout, score.scale, score.window, score.softcap, sinks_H
    )
