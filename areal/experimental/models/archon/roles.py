# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a parameter is to its layer. Layers declare roles, `parallel` turns roles into placements: no plan knows a family.

A layer's `roles()` maps the names of its direct children and parameters to roles; nested layers declare their own.
"""

from __future__ import annotations

from enum import Enum


class Role(Enum):
    """How tensor and expert parallelism may cut a parameter."""

    COLUMN = "column"
    """Linear whose outputs belong to heads or channels: weight and bias cut along dim 0."""
    ROW = "row"
    """Linear that sums over heads or channels: weight cut along dim 1, outputs summed over ranks, bias whole."""
    CHANNEL = "channel"
    """Parameter or norm over channels that COLUMN cuts (sinks, per-head norm weights): cut along dim 0."""
    HEAD_NORM = "head_norm"
    """Norm within a head, one weight for all heads: whole, applied to local heads, gradients summed over ranks."""
    FLAT_NORM = "flat_norm"
    """Norm over the channels of all heads: weight cut along dim 0, mean square summed over ranks."""
    TOKEN_NORM = "token_norm"
    """Norm of the residual stream: whole, applied to this rank's tokens under sequence parallelism."""
    EMBEDDING = "embedding"
    """Token embedding: rows of the vocabulary cut along dim 0."""
    POSITIONS = "positions"
    """Learned positions: whole; each rank looks up those of all tokens and keeps its own rows."""
    OUTPUT = "output"
    """Language-model head: rows of the vocabulary cut along dim 0, logits stay cut."""
    REPLICATED = "replicated"
    """Whole on every tensor-parallel rank (router, critic score, low-rank projections, mixers that cannot be cut)."""
    EXPERTS = "experts"
    """Stacked experts: cut along dim 0 by expert parallelism, and inside like COLUMN and ROW by expert tensor parallelism."""
