# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The *denominators* invariant: a loss is divided by what the whole batch holds, however it was cut and spread over ranks.

The algorithm classes record it once an update; every rank records the same.
"""

from __future__ import annotations

from areal.utils import stats_tracker

WEIGHT_TOLERANCE = 1e-6  # counts are exact integers; float32 sums of them are so up to 2^24 only


def record_denominators(loss_weight: float, expected: float) -> None:
    """Record `invariants/denominators`: what the engine divided by against the count taken from the batch itself."""
    rel_error = abs(loss_weight - expected) / max(expected, 1.0)
    with stats_tracker.disable_scope(), stats_tracker.scope("invariants/denominators"):
        stats_tracker.scalar(rel_error=rel_error, ok=float(rel_error <= WEIGHT_TOLERANCE))
