# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a mixer needs to know about which tokens belong together, so that no cache, packing or sharding enters a layer.

A decoder sees a flat run of N tokens; only the context knows sequences. `contexts.packed` serves training, the embedded server
brings its own over a slot cache, `parallel.ulysses` wraps either. Dimensions: N tokens, H query heads, K key heads (H is a
multiple of K), D query/key width, W value width, C channels, S kernel size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from areal.experimental.models.archon.model_args import ScoreArgs


class MixingContext(Protocol):
    """How tokens meet. `layer` is the global index of the block, which is the key of caches."""

    def attend(
        self, layer: int, q_NHD: Tensor, k_NKD: Tensor, v_NKW: Tensor, score: ScoreArgs, sinks_H: Tensor | None
    ) -> Tensor:
        """Causal softmax attention within each sequence: `[N, H, W]`; q and k are rotated already."""
        ...

    def convolve(self, layer: int, x_NC: Tensor, weight_CS: Tensor) -> Tensor:
        """Causal depthwise convolution within each sequence, y_t = sum_s w_s · x_(t - S + 1 + s): `[N, C]`."""
        ...

    def delta_rule(
        self, layer: int, q_NHD: Tensor, k_NHD: Tensor, v_NHW: Tensor, log_decay_NH: Tensor, beta_NH: Tensor
    ) -> Tensor:
        """Gated delta rule from a zero state at each sequence's start: `[N, H, W]`; see `kernels.delta_rule`."""
        ...

    def sequence_lengths(self) -> Tensor:
        """Length of the sequence each token belongs to, as far as it is known: int64 `[N]`, on any device."""
        ...


@dataclass(frozen=True)
class TokenInfo:
    """What all blocks of one pass share: positions int64 `[N]`, rotary tables by name (cos, sin `[N, 1, R]`), the context.

    num_real_rows: how many of the rows that a feed-forward sees are tokens, the others behind them being padding; None: all.
    """

    positions: Tensor
    ropes: dict[str, tuple[Tensor, Tensor]]
    context: MixingContext
    num_real_rows: int | None = None
