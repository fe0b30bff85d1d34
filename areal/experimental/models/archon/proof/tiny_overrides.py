# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What single families need beyond the rules of `tiny`, as pairs of fields for the first and the second config.

Mostly rotary tables: each kind that a family's checkpoints ship with is proven on that family.
"""

from __future__ import annotations

from typing import Any

Pair = tuple[dict[str, Any], dict[str, Any]]

_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
_LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "beta_fast": 8.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": 64,
}
_DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
_MLA_YARN = {**_YARN, "mscale": 0.7, "mscale_all_dim": 1.2}


def _longrope(rotary_dim: int, share: float) -> dict[str, Any]:
    """Short factors for the sequence of 13 tokens, long ones for that of 24."""
    return {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0 + 0.1 * i for i in range(rotary_dim // 2)],
        "long_factor": [2.0 + 0.5 * i for i in range(rotary_dim // 2)],
        "partial_rotary_factor": share,
        "original_max_position_embeddings": 16,
    }


OVERRIDES: dict[str, Pair] = {
    "llama": ({"rope_parameters": _LLAMA3}, {"rope_parameters": _DYNAMIC, "max_position_embeddings": 16}),
}
