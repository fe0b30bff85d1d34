# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The contract of `WorkerGroup`, run against every implementation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from areal.infra.workers import InProcessWorker, ProcessWorkers, WorkerGroup
from areal.utils.errors import DeadlineExceeded, InfraError, WorkerDied

TOY = "tests.infra.workers.toys:Toy"
GroupMaker = Callable[..., WorkerGroup]


@pytest.fixture(params=["in_process", "processes"])
def make_group(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GroupMaker]:
    groups: list[WorkerGroup] = []

    def make(*args: object, factory: str = TOY, deadline_s: float = 20.0) -> WorkerGroup:
        if request.param == "in_process":
            group: WorkerGroup = InProcessWorker(factory, *args, deadline_s=deadline_s)
        else:
            group = ProcessWorkers(factory, 2, args, deadline_s=deadline_s, log_dir=tmp_path)
        groups.append(group)
        return group

    yield make
    for group in groups:
        group.close()


def test_group_is_a_worker_group(make_group: GroupMaker) -> None:
    assert isinstance(make_group(), WorkerGroup)


def test_call_all_passes_arguments_and_keeps_state(make_group: GroupMaker) -> None:
    group = make_group(10)
    world = group.world_size

    assert group.call_all("add", 2, times=3) == [16] * world
    assert group.call_all("add", 1) == [17] * world


def test_call_rank_reaches_one_rank(make_group: GroupMaker) -> None:
    group = make_group(5)

    assert group.call_rank(group.world_size - 1, "add", 1) == 6
    assert group.call_all("add", 0) == [5] * (group.world_size - 1) + [6]


def test_call_rank_outside_the_world_is_refused(make_group: GroupMaker) -> None:
    group = make_group()

    with pytest.raises(ValueError, match=r"expected a rank in \[0, \d\), got 7"):
        group.call_rank(7, "pid")


def test_call_each_gives_every_rank_its_own_arguments(make_group: GroupMaker) -> None:
    group = make_group(100)
    amounts = list(range(1, group.world_size + 1))

    assert group.call_each("add", [(amount,) for amount in amounts]) == [100 + amount for amount in amounts]


def test_call_each_with_wrong_shapes_is_refused(make_group: GroupMaker) -> None:
    group = make_group()

    with pytest.raises(ValueError, match="one a rank"):
        group.call_each("add", [(1,)] * (group.world_size + 1))
    with pytest.raises(TypeError, match="write `\\(value,\\)`"):
        group.call_each("add", [1] * group.world_size)


def test_async_calls_run_in_order(make_group: GroupMaker) -> None:
    group = make_group(0)

    futures = [group.call_all_async("add", 1) for _ in range(20)]
    one = group.call_rank_async(0, "add", 100)

    assert [future.result(10) for future in futures] == [[n] * group.world_size for n in range(1, 21)]
    assert one.result(10) == 120
    assert group.call_each_async("add", [(0,)] * group.world_size).result(10)[0] == 120


def test_calls_from_many_threads_all_arrive(make_group: GroupMaker) -> None:
    group = make_group(0)
    threads = [
        threading.Thread(target=lambda: [group.call_all("add", 1) for _ in range(25)], daemon=True) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert group.call_all("add", 0) == [200] * group.world_size


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(12, dtype=torch.int32).reshape(3, 4),
        torch.randn(5, 7, dtype=torch.bfloat16),
        torch.tensor([[True, False]]),
        torch.tensor(3.5),
        torch.empty(0, 4),
        torch.arange(20.0).reshape(4, 5)[:, 1::2],
        torch.arange(6.0).reshape(2, 3).t(),
    ],
    ids=["int32", "bf16", "bool", "scalar", "empty", "strided_view", "transposed"],
)
def test_tensors_arrive_bit_equal_and_writable(make_group: GroupMaker, tensor: torch.Tensor) -> None:
    group = make_group()

    echoed = group.call_all("echo", {"nested": [tensor]})
    facts = group.call_rank(0, "tensor_facts", tensor.clone() if tensor.dtype != torch.bool else tensor.int())

    for answer in echoed:
        assert torch.equal(answer["nested"][0], tensor)
        assert answer["nested"][0].dtype == tensor.dtype
    assert facts[0] == tuple(tensor.shape)
    assert facts[2] == float(tensor.double().sum())


def test_exception_of_a_method_keeps_its_type_and_the_group_goes_on(make_group: GroupMaker) -> None:
    group = make_group(1)

    with pytest.raises(ValueError, match="this number is wrong") as caught:
        group.call_all("raise_value_error")

    assert any("raise_value_error" in note and "worker" in note for note in caught.value.__notes__)
    assert group.call_all("add", 1) == [2] * group.world_size


def test_unknown_method_raises_attribute_error(make_group: GroupMaker) -> None:
    with pytest.raises(AttributeError, match="no_such_method"):
        make_group().call_all("no_such_method")


def test_exception_of_the_factory_is_raised_by_the_constructor(make_group: GroupMaker) -> None:
    with pytest.raises(ValueError, match="bad start"):
        make_group("bad start", factory="tests.infra.workers.toys:failing_factory")


@pytest.mark.parametrize(
    ("factory", "error"),
    [("tests.infra.workers.toys", ValueError), ("tests.infra.workers.toys:Absent", ImportError)],
)
def test_factory_that_cannot_be_found_is_named(make_group: GroupMaker, factory: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"tests\.infra\.workers\.toys"):
        make_group(factory=factory)


def test_late_call_raises_deadline_with_method_ranks_and_stack_and_stops_the_group(make_group: GroupMaker) -> None:
    group = make_group(deadline_s=0.5)

    with pytest.raises(DeadlineExceeded) as caught:
        group.call_rank(0, "sleep", 3.0)

    text = str(caught.value)
    assert "'sleep'" in text
    assert "rank 0" in text
    assert "toys.py" in text, "the stack of the stuck worker is missing"
    with pytest.raises(DeadlineExceeded):
        group.call_all("add", 1)


def test_deadline_counts_from_the_start_of_a_call_not_from_its_place_in_the_queue(make_group: GroupMaker) -> None:
    group = make_group(deadline_s=1.0)

    futures = [group.call_all_async("sleep", 0.4) for _ in range(4)]

    assert [future.result(10) for future in futures] == [["slept"] * group.world_size] * 4


def test_worker_that_exits_raises_worker_died(make_group: GroupMaker) -> None:
    group = make_group()

    with pytest.raises(WorkerDied):
        group.call_rank(0, "log_and_exit", 3)
    with pytest.raises(WorkerDied):
        group.call_all("add", 1)


def test_pending_and_later_calls_fail_when_the_group_is_closed(make_group: GroupMaker) -> None:
    group = make_group()
    running, queued = group.call_rank_async(0, "sleep", 0.5), group.call_rank_async(0, "add", 1)

    group.close()
    group.close()

    with pytest.raises(InfraError, match="closed"):
        queued.result(5)
    with pytest.raises(InfraError, match="closed"):
        group.call_all("add", 1)
    assert running.done()


def test_call_that_may_have_started_cannot_be_cancelled(make_group: GroupMaker) -> None:
    group = make_group()
    future = group.call_rank_async(0, "sleep", 0.1)

    assert not future.cancel()
    assert future.result(5) == "slept"


def test_health_shows_what_runs_without_asking_the_worker(make_group: GroupMaker) -> None:
    group = make_group()
    future = group.call_rank_async(0, "sleep", 0.5)
    while group.health()[0].running is None and not future.done():
        pass

    busy = group.health()[0]
    future.result(5)
    idle = group.health()[0]

    assert (busy.running, busy.alive) == ("sleep", True)
    assert busy.rss_bytes > 1_000_000
    assert idle.running is None
    assert len(group.health()) == group.world_size
