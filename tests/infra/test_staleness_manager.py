# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The account against hand-computed numbers."""

from __future__ import annotations

import pytest

from areal.api.io_struct import RolloutStat
from areal.infra.staleness_manager import StalenessManager
from tests.fakes import FakeVersion


def account(version: int, concurrent: int, batch_size: int, eta: int, accepted: int, running: int) -> StalenessManager:
    manager = StalenessManager(FakeVersion(version), concurrent, batch_size, eta)
    for index in range(accepted + running):
        manager.on_rollout_enqueued()
        manager.on_rollout_submitted()
        if index < accepted:
            manager.on_rollout_accepted()
    return manager


@pytest.mark.parametrize(
    ("version", "concurrent", "batch_size", "eta", "accepted", "running", "capacity"),
    [
        (0, 100, 4, 0, 0, 0, 4),
        (0, 100, 4, 2, 0, 0, 12),
        (0, 5, 4, 2, 0, 3, 2),  # concurrency binds
        (3, 100, 4, 1, 10, 5, 5),  # (1 + 3 + 1) * 4 - 15
        (0, 100, 4, 0, 4, 0, 0),
        (1, 100, 4, 0, 4, 6, -2),  # may be negative after a limit was lowered
        (0, 0, 0, 0, 0, 0, 1),  # limits are at least 1
    ],
)
def test_capacity_is_the_smaller_of_concurrency_and_staleness(
    version: int, concurrent: int, batch_size: int, eta: int, accepted: int, running: int, capacity: int
) -> None:
    assert account(version, concurrent, batch_size, eta, accepted, running).get_capacity() == capacity


def test_rejected_task_gives_its_slot_back_unless_it_is_part_of_a_batch() -> None:
    manager = account(0, 100, 4, 0, accepted=0, running=4)
    manager.on_rollout_rejected()
    assert manager.get_capacity() == 1
    manager.on_rollout_rejected(keeps_slot=True)
    assert manager.get_capacity() == 1
    manager.on_held_released()
    assert manager.get_capacity() == 2
    assert manager.get_stats() == RolloutStat(accepted=0, enqueued=0, rejected=2, running=2)


def test_first_version_with_capacity_is_where_admission_goes_on() -> None:
    manager = account(0, 100, 4, 1, accepted=8, running=3)
    first = manager.first_version_with_capacity()
    assert first == 1
    manager.version_provider = FakeVersion(first - 1)
    assert manager.get_capacity() <= 0
    manager.version_provider = FakeVersion(first)
    assert manager.get_capacity() > 0


def test_skipped_batches_spend_their_slots_once() -> None:
    manager = account(5, 1000, 4, 1, accepted=0, running=0)
    for _ in range(2):
        manager.spend_skipped_batches()
        assert manager.get_capacity() == 8 == manager.get_pending_limit()


def test_negative_staleness_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        StalenessManager(FakeVersion(), 1, 1, -1)
