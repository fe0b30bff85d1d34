# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What the steps of a run add up to: throughput, how long the trainer waited, how far generation and training overlapped.

The trainer adds the row of each step and writes `summary` into summary.json; `areal report` adds the rows of stats.jsonl.
Part of recovery checkpoints, so that the totals of a resumed run are those of all its steps.

Over all steps, with S the wall time of a step, E that of its evaluation, W the trainer blocked in prepare_batch and G at
least one rollout in flight (the trainer waits for rollouts only, so G covers W):

    tokens_per_s       = tokens of the trained sequences / S
    trainer_wait_share = W / (S - E)
    overlap_share      = (G - W) / (S - E - W): of the time in which the trainer works, the share with rollouts in flight
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from areal.utils import stat_keys as keys


class RunTotals:
    """Sums over steps; plain numbers in and out."""

    def __init__(self) -> None:
        self._sums = dict.fromkeys(
            ("trained_tokens", "timed_tokens", "tokens_s", "training_s", "wait_s", "overlap_s"), 0.0
        )

    def add(self, row: Mapping[str, float]) -> None:
        """Add the row of a step; statistics that it lacks are left out of their sums."""
        sums = self._sums
        sums["trained_tokens"] += row.get(keys.NUM_TRAINED_TOKENS, row.get(keys.SFT_NUM_TRAINED_TOKENS, 0.0))
        if keys.STEP_S not in row:
            return
        step_s = row[keys.STEP_S]
        if keys.TOKENS_PER_S in row:
            sums["timed_tokens"] += row[keys.TOKENS_PER_S] * step_s
            sums["tokens_s"] += step_s
        if keys.ROLLOUT_S in row and keys.GENERATION_S in row:
            training_s = max(step_s - row.get(keys.EVAL_S, 0.0), 0.0)
            wait_s = min(row[keys.ROLLOUT_S], training_s)
            sums["training_s"] += training_s
            sums["wait_s"] += wait_s
            # At most the work: rollouts may also be in flight during an evaluation, and two clocks differ a little.
            sums["overlap_s"] += min(max(row[keys.GENERATION_S] - wait_s, 0.0), training_s - wait_s)

    def summary(self) -> dict[str, Any]:
        """Fields of summary.json, without those whose statistics no step had."""
        sums = self._sums
        found: dict[str, Any] = {}
        if sums["trained_tokens"]:
            found["num_trained_tokens"] = int(sums["trained_tokens"])
        if sums["tokens_s"]:
            found["tokens_per_s"] = sums["timed_tokens"] / sums["tokens_s"]
        if sums["training_s"]:
            found["trainer_wait_share"] = sums["wait_s"] / sums["training_s"]
        if (work_s := sums["training_s"] - sums["wait_s"]) > 0:
            found["overlap_share"] = sums["overlap_s"] / work_s
        return found

    def state_dict(self) -> dict[str, float]:
        """The sums."""
        return dict(self._sums)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from `state_dict`."""
        self._sums = {name: float(state[name]) for name in self._sums}
