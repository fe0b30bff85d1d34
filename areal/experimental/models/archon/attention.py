# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""How queries meet keys: the strategies a decoder is given, so that no cache and no packing enters the model definition.

A decoder sees a flat run of N tokens; only the strategy knows which of them belong together. It is called once per layer
with the rotated queries and keys. This module has the one for plain rows; the embedded server brings its own over a slot
cache. Dimensions: N tokens, B rows of S tokens, H query heads, K key heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""`(layer index, q [N,H,D], k [N,K,D], v [N,K,D]) -> [N,H,D]`; H is a multiple of K; scores scale by D^-0.5."""


class CausalRows:
    """The N tokens are B rows of equal length; each token attends to itself and the tokens left of it in its row.

    Padding on the right of a row therefore changes nothing for the tokens before it.
    """

    def __init__(self, num_rows: int) -> None:
        self._num_rows = num_rows

    def __call__(self, layer: int, q_NHD: Tensor, k_NKD: Tensor, v_NKD: Tensor) -> Tensor:
        """See `Attend`."""
        q_BHSD, k_BKSD, v_BKSD = (t.unflatten(0, (self._num_rows, -1)).transpose(1, 2) for t in (q_NHD, k_NKD, v_NKD))
        is_grouped = q_NHD.shape[1] != k_NKD.shape[1]
        y_BHSD = F.scaled_dot_product_attention(q_BHSD, k_BKSD, v_BKSD, is_causal=True, enable_gqa=is_grouped)
        return y_BHSD.transpose(1, 2).flatten(0, 1)
