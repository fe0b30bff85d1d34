# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The *data order* invariant: every sample is trained on at most once, and two runs can compare what they consumed.

The RL trainer owns one and feeds it the task ids of each batch; it travels in recovery checkpoints, so that its chain of
hashes goes on where the stopped run was.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from areal.utils import stat_keys


class DataOrder:
    """Counts repeated samples and hashes the sequence of consumed ones.

    Ids grow with time, so only those above a floor are remembered: everything below it was consumed exactly once.
    """

    def __init__(self) -> None:
        self._floor = 0
        self._above: set[int] = set()
        self._violations = 0
        self._chain = 0

    def consume(self, task_ids: Sequence[int]) -> dict[str, float]:
        """Account for the tasks of one batch, in the order they are trained; returns the invariant's statistics."""
        for task_id in task_ids:
            self._chain = zlib.crc32(task_id.to_bytes(8, "little"), self._chain)
            if task_id < self._floor or task_id in self._above:
                self._violations += 1
            self._above.add(task_id)
        while self._floor in self._above:
            self._above.remove(self._floor)
            self._floor += 1
        return {
            stat_keys.INVARIANT_MEASURES["data_order"]: float(self._violations),
            stat_keys.invariant_ok("data_order"): float(self._violations == 0),
            "invariants/data_order/chain": float(self._chain),
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        return {
            "floor": self._floor,
            "above": sorted(self._above),
            "violations": self._violations,
            "chain": self._chain,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._floor = state["floor"]
        self._above = set(state["above"])
        self._violations = state["violations"]
        self._chain = state["chain"]
