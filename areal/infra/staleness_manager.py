# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The account that bounds staleness: how many rollout tasks may exist at the current policy version.

Unit of account: one task, that is one prompt with its whole group. With eta = `max_staleness`, B = `consumer_batch_size`
and v = the current version,

    capacity = min(max_concurrent - running, (eta + v + 1) * B - (accepted + running)).

`accepted` only grows: the consumer releases slots, B with every version. A rejected task gives its slot back.
The rollout core reports every transition here; nothing else gates admission.
"""

from __future__ import annotations

import dataclasses
import threading
from typing import Protocol

from areal.api.io_struct import RolloutStat

UNLIMITED_STALENESS = 1 << 40
"""Stands for "no bound" (evaluation): more versions than any run makes, and still exact in integer arithmetic."""


class VersionProvider(Protocol):
    """Whatever knows the version of the policy that generates."""

    def get_version(self) -> int:
        """The current version."""
        ...


class StalenessManager:
    """Counters of tasks by state and the capacity they leave; safe to read from any thread."""

    def __init__(
        self,
        version_provider: VersionProvider,
        max_concurrent_rollouts: int,
        consumer_batch_size: int,
        max_staleness: int,
    ) -> None:
        if max_staleness < 0:
            raise ValueError(f"max_staleness counts versions and is >= 0, got {max_staleness}")
        self.version_provider = version_provider
        self.max_concurrent_rollouts = max(1, max_concurrent_rollouts)
        self.consumer_batch_size = max(1, consumer_batch_size)
        self.max_staleness = max_staleness
        self._stat = RolloutStat()
        self._num_void = 0  # slots spent without an accepted task: see `on_rollout_rejected`, `spend_skipped_batches`
        self._num_consumed = 0
        self._lock = threading.Lock()

    def get_capacity(self) -> int:
        """How many tasks may start now; zero or negative means none."""
        version = self.version_provider.get_version()
        with self._lock:
            running, spent = self._stat.running, self._spent()
        return min(self.max_concurrent_rollouts - running, self._limit(version) - spent)

    def get_pending_limit(self) -> int:
        """Tasks worth having in hand: the batches that fit between an admission and its last allowed consumption."""
        return (self.max_staleness + 1) * self.consumer_batch_size

    def first_version_with_capacity(self) -> int:
        """The lowest version at which the staleness bound admits one more task."""
        with self._lock:
            return max(0, self._spent() // self.consumer_batch_size - self.max_staleness)

    def set_batch_size(self, consumer_batch_size: int, max_concurrent_rollouts: int | None) -> None:
        """Adopt the consumer's batch size (for accounts made before it was known); also the default concurrency."""
        with self._lock:
            self.consumer_batch_size = consumer_batch_size
            self.max_concurrent_rollouts = max_concurrent_rollouts or consumer_batch_size

    def on_rollout_enqueued(self) -> None:
        """A task was handed in and waits for a slot."""
        with self._lock:
            self._stat.enqueued += 1

    def on_rollout_submitted(self) -> None:
        """A waiting task started."""
        with self._lock:
            self._stat.enqueued -= 1
            self._stat.running += 1

    def on_rollout_accepted(self) -> None:
        """A running task yielded a trajectory; its slot stays taken until the consumer's version releases it."""
        with self._lock:
            self._stat.running -= 1
            self._stat.accepted += 1

    def on_rollout_rejected(self, keeps_slot: bool = False) -> None:
        """A running task yielded nothing. It gives its slot back, unless it will be consumed as part of a batch."""
        with self._lock:
            self._stat.running -= 1
            self._stat.rejected += 1
            self._num_void += keeps_slot

    def on_held_released(self) -> None:
        """A rejected task that kept its slot is not part of a batch after all."""
        with self._lock:
            self._num_void -= 1

    def on_rollout_expired(self, was_running: bool) -> None:
        """A task became too stale to consume and will start again: it gives its slot back."""
        with self._lock:
            if was_running:
                self._stat.running -= 1
            else:
                self._stat.accepted -= 1

    def on_consumed(self, num_slots: int) -> None:
        """The consumer took tasks that hold slots."""
        with self._lock:
            self._num_consumed += num_slots

    def spend_skipped_batches(self) -> None:
        """A version without its batch spends the batch's slots; otherwise more tasks would start than can be consumed in time.

        Called by consumers of batches only: whoever takes single tasks has no batch that a version stands for.
        """
        version = self.version_provider.get_version()
        with self._lock:
            num_skipped = max(0, version * self.consumer_batch_size - self._num_consumed)
            self._num_void += num_skipped
            self._num_consumed += num_skipped

    def on_version_recovered(self, version: int) -> None:
        """A resumed run starts at `version`: everything accepted before counts as consumed."""
        with self._lock:
            self._stat.accepted = self._num_consumed = version * self.consumer_batch_size
            self._num_void = 0

    def get_stats(self) -> RolloutStat:
        """A copy of the counters."""
        with self._lock:
            return dataclasses.replace(self._stat)

    def _spent(self) -> int:
        return self._stat.accepted + self._num_void + self._stat.running

    def _limit(self, version: int) -> int:
        return (self.max_staleness + version + 1) * self.consumer_batch_size
