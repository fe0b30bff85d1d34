# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The rollout core on a virtual clock: admission, the hard staleness bound, outcomes, failures, waiting."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from areal.api.io_struct import Outcome
from areal.infra.consumption import EpisodeResult, RolloutTask, SampleSource
from areal.infra.rollout_core import RolloutCore, TakenBatch
from areal.utils.errors import DeadlineExceeded, InfraError, ServerDead, UserCodeError
from tests.fakes import CheckedStaleness, FakeStream, FakeVersion, tiny_trajectory
from tests.virtual_clock import run_virtually


class Bench:
    """A core with its neighbours; episodes are `async fn(index) -> bool`, True meaning accepted."""

    def __init__(
        self, batch_size: int = 4, eta: int = 0, max_concurrent: int = 1000, budget: int = 3, in_order: bool = False
    ) -> None:
        self.version = FakeVersion()
        self.staleness = CheckedStaleness(self.version, max_concurrent, batch_size, eta)
        self.core = RolloutCore(self.staleness, budget, in_order=in_order)
        self.stream = FakeStream(batch_size)
        self.num_started = 0

    def source(self, fn: Callable[[int], Awaitable[bool]], is_dynamic: bool = False) -> SampleSource:
        return SampleSource(self.stream, self._episode(fn), is_dynamic)

    def submit(self, fn: Callable[[int], Awaitable[bool]], count: int) -> list[RolloutTask]:
        tasks = [RolloutTask(index, {"index": index}, self._episode(fn)) for index in range(count)]
        self.core.submit(tasks)
        return tasks

    async def step(self, source: SampleSource, timeout_s: float | None = None) -> TakenBatch:
        batch = await self.core.next_batch(source, self.stream.batch_size, timeout_s)
        for task in batch.tasks:
            assert task.trajectory is None or batch.version - task.version <= self.staleness.max_staleness
        return batch

    def publish(self) -> None:
        self.version.version += 1
        self.core.notify()

    def _episode(self, fn: Callable[[int], Awaitable[bool]]) -> Any:
        async def run(task_id: int, data: dict[str, Any]) -> EpisodeResult:
            self.num_started += 1
            version = self.version.version
            if await fn(task_id):
                return EpisodeResult(Outcome.SCORED, tiny_trajectory(version))
            return EpisodeResult(Outcome.REJECTED, None)

        return run


def ids(tasks: list[RolloutTask]) -> list[int]:
    return [task.task_id for task in tasks]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    batch_size=st.integers(1, 5),
    eta=st.integers(0, 4),
    max_concurrent=st.integers(1, 30),
    in_order=st.booleans(),
    is_dynamic=st.booleans(),
    reject_share=st.sampled_from([0.0, 0.3, 0.7]),
    infra_share=st.sampled_from([0.0, 0.1]),
)
def test_schedule_random_durations_keeps_every_bound(
    seed: int,
    batch_size: int,
    eta: int,
    max_concurrent: int,
    in_order: bool,
    is_dynamic: bool,
    reject_share: float,
    infra_share: float,
) -> None:
    rng = random.Random(seed)

    async def fn(index: int) -> bool:
        await asyncio.sleep(rng.choice([0.0, 0.1, 1.0, rng.expovariate(1.0), 30 * rng.random()]))
        if rng.random() < infra_share:
            raise ServerDead("gone")
        return rng.random() >= reject_share

    async def scenario() -> None:
        bench = Bench(batch_size, eta, max_concurrent, budget=1000, in_order=in_order)
        source = bench.source(fn, is_dynamic)
        taken: list[int] = []
        for _ in range(8):
            batch = await bench.step(source)
            assert len(batch.tasks) == batch_size  # of accepted ones, or of accepted and rejected ones
            assert (any if is_dynamic else all)(task.trajectory is not None for task in batch.tasks)
            taken += ids(batch.tasks)
            taken += [index for _, index in batch.dropped]
            if rng.random() < 0.3:
                bench.core.pause()
                await asyncio.sleep(rng.random())
                bench.core.resume()
            await asyncio.sleep(rng.choice([0.0, 0.5, 3.0]))
            bench.publish()
        assert len(set(taken)) == len(taken), "a sample came twice"
        assert bench.core.num_expired == 0
        await bench.core.close()

    run_virtually(scenario())


def test_next_batch_eta_zero_is_strictly_on_policy() -> None:
    async def fn(index: int) -> bool:
        await asyncio.sleep(1.0 + index % 3)
        return True

    async def scenario() -> None:
        bench = Bench(batch_size=4, eta=0)
        source = bench.source(fn)
        for version in range(5):
            batch = await bench.step(source)
            assert {task.version for task in batch.tasks} == {version}
            assert bench.stream.num_drawn == 4 * (version + 1), "nothing is drawn ahead of the policy"
            bench.publish()

    run_virtually(scenario())


def test_next_batch_straggler_is_waited_for_only_when_due() -> None:
    async def fn(index: int) -> bool:
        await asyncio.sleep(10.0 if index == 0 else 0.1)
        return True

    async def scenario() -> list[tuple[float, bool]]:
        bench = Bench(batch_size=2, eta=2)
        source, seen = bench.source(fn), []
        for _ in range(3):
            batch = await bench.step(source)
            seen.append((round(asyncio.get_running_loop().time(), 1), 0 in ids(batch.tasks)))
            bench.publish()
        return seen

    # Task 0 of version 0 is due at version 2 = 0 + eta: the first two batches go on without it, the third waits.
    assert run_virtually(scenario()) == [(0.1, False), (0.1, False), (10.0, True)]


def test_next_batch_in_order_takes_the_oldest_tasks_by_id() -> None:
    async def fn(index: int) -> bool:
        await asyncio.sleep(5.0 - index % 5)
        return index % 3 != 1

    async def scenario() -> list[list[int]]:
        bench = Bench(batch_size=3, eta=3, in_order=True)
        source, batches = bench.source(fn), []
        for _ in range(3):
            batches.append(ids((await bench.step(source)).tasks))
            bench.publish()
        return batches

    assert run_virtually(scenario()) == [[0, 2, 3], [5, 6, 8], [9, 11, 12]]


def test_pause_while_running_harvests_and_starts_nothing() -> None:
    async def fn(index: int) -> bool:
        await asyncio.sleep(1.0)
        return True

    async def scenario() -> None:
        bench = Bench(batch_size=2, eta=4, max_concurrent=4)
        source = bench.source(fn)
        batch = asyncio.create_task(bench.step(source))
        await asyncio.sleep(0.5)
        bench.core.pause()
        await asyncio.sleep(5)
        assert batch.done() and len((await batch).tasks) == 2, "finished tasks are handed over while paused"
        assert bench.num_started == 4
        bench.core.resume()
        await asyncio.sleep(0.1)
        assert bench.num_started == 8

    run_virtually(scenario())


@pytest.mark.parametrize("num_good_before", [0, 5])
def test_next_batch_workflow_always_raises_stops_with_its_cause(num_good_before: int) -> None:
    async def fn(index: int) -> bool:
        await asyncio.sleep(0.01 * index)
        if index >= num_good_before:
            raise KeyError("answer")
        return True

    async def scenario() -> Bench:
        bench = Bench(batch_size=4, budget=3)
        source = bench.source(fn)
        with pytest.raises(UserCodeError, match="3 episodes in a row") as caught:
            for _ in range(10):
                await bench.step(source)
                bench.publish()
        assert caught.value.cause_type == "KeyError" and "test_rollout_core.py" in caught.value.where
        assert isinstance(caught.value.__cause__, KeyError)
        with pytest.raises(UserCodeError):
            await bench.core.submitted.wait(1)
        return bench

    bench = run_virtually(scenario())
    assert bench.core.runner.outcomes[Outcome.USER_ERROR] >= 3
    assert bench.num_started <= num_good_before + 3 + 4


def test_next_batch_two_alternating_errors_still_stop() -> None:
    async def fn(index: int) -> bool:
        if index % 2:
            raise KeyError("x")
        raise ValueError("y")

    async def scenario() -> None:
        bench = Bench(batch_size=1, budget=4)
        with pytest.raises(UserCodeError, match="4 episodes in a row"):
            await bench.step(bench.source(fn))

    run_virtually(scenario())


def test_next_batch_sporadic_error_is_dropped_and_counted() -> None:
    async def fn(index: int) -> bool:
        if index % 3 == 1:
            raise ValueError("sometimes")
        return True

    async def scenario() -> None:
        bench = Bench(batch_size=4, budget=3)
        batch = await bench.step(bench.source(fn))
        assert sorted(ids(batch.tasks)) == [0, 2, 3, 5]
        assert sorted(index for _, index in batch.dropped) == [1, 4]
        assert sum(bench.core.failures.counts.values()) == 2
        assert next(iter(bench.core.failures.counts)).startswith("ValueError@test_rollout_core.py")

    run_virtually(scenario())


def test_infra_error_transient_is_retried_and_trained() -> None:
    failures = {0: 2, 3: 1}

    async def fn(index: int) -> bool:
        if failures.get(index, 0) > 0:
            failures[index] -= 1
            raise ServerDead("server 0 is gone")
        return True

    async def scenario() -> None:
        bench = Bench(batch_size=4, budget=3)
        batch = await bench.step(bench.source(fn))
        assert sorted(ids(batch.tasks)) == [0, 1, 2, 3] and not batch.dropped
        assert bench.core.runner.outcomes == {Outcome.INFRA_ERROR: 3, Outcome.SCORED: 4}

    run_virtually(scenario())


def test_infra_error_persistent_stops_with_its_cause() -> None:
    async def fn(index: int) -> bool:
        raise ServerDead("server 0 is gone")

    async def scenario() -> None:
        bench = Bench(batch_size=4, budget=3)
        with pytest.raises(InfraError, match=r"failed 3 times in a row with ServerDead: server 0 is gone"):
            await bench.step(bench.source(fn))
        assert bench.num_started <= 4 * 3

    run_virtually(scenario())


def test_infra_error_of_all_running_tasks_at_once_is_one_incident() -> None:
    has_failed: set[int] = set()

    async def fn(index: int) -> bool:
        await asyncio.sleep(1)
        if index < 64 and index not in has_failed:
            has_failed.add(index)
            raise ServerDead("one crash")
        return True

    async def scenario() -> None:
        bench = Bench(batch_size=64, budget=2)
        assert len((await bench.step(bench.source(fn))).tasks) == 64

    run_virtually(scenario())


def test_next_batch_filter_that_accepts_nothing_stops() -> None:
    async def fn(index: int) -> bool:
        return False

    async def scenario() -> None:
        bench = Bench(batch_size=2)
        with pytest.raises(UserCodeError, match=r"128 samples in a row gave no trajectory.*rejected"):
            await bench.step(bench.source(fn))

    run_virtually(scenario())


def test_next_batch_dataset_raises_stops_with_its_cause() -> None:
    async def fn(index: int) -> bool:
        return True

    async def scenario() -> None:
        bench = Bench(batch_size=2)
        bench.stream._make = lambda index: {}["messages"]
        with pytest.raises(UserCodeError, match="KeyError"):
            await bench.step(bench.source(fn))

    run_virtually(scenario())


def test_next_batch_no_capacity_says_which_version_it_waits_for() -> None:
    async def fn(index: int) -> bool:
        return True

    async def scenario() -> None:
        bench = Bench(batch_size=2, eta=1)
        source = bench.source(fn)
        for _ in range(2):
            await bench.step(source)
        with pytest.raises(
            DeadlineExceeded, match=r"0 of 2 done, gave up after 5 s; .*no capacity until version 1 \(now 0\)"
        ):
            await bench.step(source, timeout_s=5)
        bench.core.pause()
        with pytest.raises(DeadlineExceeded, match=r"without a task ending.*paused"):
            await bench.step(source)

    run_virtually(scenario())


def test_wait_reason_names_the_oldest_running_task() -> None:
    async def fn(index: int) -> bool:
        await asyncio.sleep(1.0 if index else 100.0)
        return True

    async def scenario() -> str:
        bench = Bench(batch_size=4)
        batch = asyncio.create_task(bench.step(bench.source(fn)))
        await asyncio.sleep(3.2)
        reason = bench.core.wait_reason()
        batch.cancel()
        return reason

    assert run_virtually(scenario()).startswith("1 running, 0 queued; oldest running 3.2 s (task 0)")


def test_version_jump_restarts_tasks_that_became_too_stale() -> None:
    async def fn(index: int) -> bool:
        await asyncio.sleep(50.0 if index == 1 else 1.0)
        return True

    async def scenario() -> None:
        bench = Bench(batch_size=2, eta=1)
        source = bench.source(fn)
        batch = asyncio.create_task(bench.core.next_batch(source, 2))
        await asyncio.sleep(0.5)
        batch.cancel()
        bench.version.version = 3  # three updates without a batch
        for _ in range(3):
            batch = await bench.step(source)  # asserts the bound
            bench.publish()
        assert bench.core.num_expired == 4
        assert bench.stream.num_drawn >= 6

    run_virtually(scenario())


def test_version_recovered_admits_the_usual_number_of_tasks() -> None:
    version = FakeVersion(7)
    staleness = CheckedStaleness(version, 1000, 4, 2)
    staleness.on_version_recovered(7)
    assert staleness.get_capacity() == (2 + 1) * 4 == staleness.get_pending_limit()


def test_wait_submitted_tasks_come_by_start_order() -> None:
    async def fn(index: int) -> bool:
        await asyncio.sleep(10 - index)
        return index != 9

    async def scenario() -> None:
        bench = Bench(batch_size=100)
        bench.submit(fn, 10)
        first = await bench.core.submitted.wait(3)
        assert ids(first) == [7, 8, 9] and first[2].trajectory is None
        await asyncio.sleep(20)
        assert ids(await bench.core.submitted.wait(4)) == [0, 1, 2, 3]
        with pytest.raises(DeadlineExceeded, match=r"wait\(4\): 3 of 4 done"):
            await bench.core.submitted.wait(4, timeout_s=1)
        assert ids(await bench.core.submitted.wait(3)) == [4, 5, 6]

    run_virtually(scenario())


def test_wait_for_timeout_gives_the_tasks_back() -> None:
    async def fn(index: int) -> bool:
        await asyncio.sleep(10.0 * index)
        return True

    async def scenario() -> None:
        bench = Bench(batch_size=100)
        tasks = bench.submit(fn, 3)
        with pytest.raises(DeadlineExceeded, match="task 1, one of 2"):
            await bench.core.submitted.wait_for(tasks[:2], timeout_s=1)
        await bench.core.submitted.wait_for([tasks[2]])
        assert ids(await bench.core.submitted.wait(2)) == [0, 1]

    run_virtually(scenario())


def test_next_batch_source_changes_apply_to_new_tasks() -> None:
    async def fn(index: int) -> bool:
        await asyncio.sleep(1)
        return True

    async def scenario() -> None:
        bench = Bench(batch_size=2, eta=1)
        old, new = bench.source(fn), bench.source(fn)
        await bench.step(old)
        bench.publish()
        sources = []
        for _ in range(3):
            sources.append({task.source for task in (await bench.step(new)).tasks})
            bench.publish()
        assert sources[0] == {old} and sources[1] <= {old, new} and sources[2] == {new}

    run_virtually(scenario())


def test_dynamic_batch_counts_rejected_tasks_and_releases_them_when_switched_off() -> None:
    async def fn(index: int) -> bool:
        return index % 2 == 0

    async def scenario() -> None:
        bench = Bench(batch_size=4, eta=1)
        batch = await bench.step(bench.source(fn, is_dynamic=True))
        assert [task.trajectory is not None for task in batch.tasks] == [True, False, True, False]
        await asyncio.sleep(1)  # four more lie ready, two of them rejected
        batch = await bench.step(bench.source(fn, is_dynamic=False))
        assert all(task.trajectory is not None for task in batch.tasks)
        assert {5, 7} <= {index for _, index in batch.dropped}

    run_virtually(scenario())


def test_dynamic_batch_of_rejected_tasks_only_is_given_up_for_others() -> None:
    async def fn(index: int) -> bool:
        return index >= 10

    async def scenario() -> None:
        bench = Bench(batch_size=4, eta=0)
        batch = await bench.step(bench.source(fn, is_dynamic=True))
        assert ids(batch.tasks) == [8, 9, 10, 11] and [index for _, index in batch.dropped] == list(range(8))
        assert bench.stream.num_drawn == 12, "those given up make room for as many"
        bench.publish()
        assert ids((await bench.step(bench.source(fn, is_dynamic=True))).tasks) == [12, 13, 14, 15]

    run_virtually(scenario())


def test_dynamic_batches_that_never_hold_a_trajectory_stop_the_run() -> None:
    async def fn(index: int) -> bool:
        return False

    async def scenario() -> None:
        bench = Bench(batch_size=4, eta=1)
        with pytest.raises(UserCodeError, match="256 samples in a row gave no trajectory"):
            await bench.step(bench.source(fn, is_dynamic=True))

    run_virtually(scenario())


def test_close_while_running_cancels_and_releases_the_waiter() -> None:
    async def fn(index: int) -> bool:
        await asyncio.sleep(1e9)
        return True

    async def scenario() -> None:
        bench = Bench()
        waiter = asyncio.create_task(bench.step(bench.source(fn)))
        await asyncio.sleep(1)
        await bench.core.close()
        with pytest.raises(InfraError, match="destroyed"):
            await waiter
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtually(scenario())


def test_busy_seconds_count_time_with_an_episode_in_flight() -> None:
    async def fn(index: int) -> bool:
        await asyncio.sleep(2.0)
        return True

    async def scenario() -> None:
        bench = Bench(batch_size=2)
        await bench.step(bench.source(fn))
        await asyncio.sleep(5)
        assert bench.core.runner.pop_busy_s() == pytest.approx(2.0)
        bench.publish()
        await asyncio.sleep(0.5)
        assert bench.core.runner.pop_busy_s() == pytest.approx(0.5)

    run_virtually(scenario())
