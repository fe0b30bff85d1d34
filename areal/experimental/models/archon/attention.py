# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""How queries meet keys: the strategies a decoder is given, so that no cache and no packing enters the model definition.

A strategy is called once per layer with the rotated queries and keys. This module has the one for plain rows; the
embedded server brings its own over a slot cache. Dimensions: B rows, S tokens, H query heads, K key heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""`(layer index, q [B,S,H,D], k [B,S,K,D], v [B,S,K,D]) -> [B,S,H,D]`; H is a multiple of K; scores scale by D^-0.5."""


def causal_attention(layer: int, q_BSHD: Tensor, k_BSKD: Tensor, v_BSKD: Tensor) -> Tensor:
    """Each token attends to itself and the tokens left of it in its row; padding on the right therefore changes nothing."""
    y_BHSD = F.scaled_dot_product_attention(
        q_BSHD.transpose(1, 2),
        k_BSKD.transpose(1, 2),
        v_BSKD.transpose(1, 2),
        is_causal=True,
        enable_gqa=q_BSHD.shape[2] != k_BSKD.shape[2],
    )
    return y_BHSD.transpose(1, 2)
