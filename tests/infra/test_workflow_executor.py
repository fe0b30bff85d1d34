# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The executor as synchronous callers see it: real thread, fake engine."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from areal.api.cli_args import InferenceEngineConfig
from areal.infra.workflow_executor import WorkflowExecutor
from areal.utils import stat_keys, workflow_context
from areal.utils.errors import ConfigError, DeadlineExceeded, InfraError, UserCodeError, WorkerDied
from tests.fakes import FakeEngine, FakeStream, FunctionWorkflow, tiny_trajectory


async def good(engine: FakeEngine, data: dict[str, Any]) -> dict[str, torch.Tensor]:
    return tiny_trajectory(engine.version)


@pytest.fixture
def start() -> Iterator[Callable[..., tuple[WorkflowExecutor, FakeEngine]]]:
    made: list[WorkflowExecutor] = []

    def make(is_eval: bool = False, dump: Any = None, **settings: Any) -> tuple[WorkflowExecutor, FakeEngine]:
        engine = FakeEngine()
        executor = WorkflowExecutor(InferenceEngineConfig(**settings), engine, is_eval=is_eval, dump=dump)
        executor.initialize()
        made.append(executor)
        return executor, engine

    yield make
    for executor in made:
        executor.destroy()


def test_prepare_batch_returns_exactly_a_batch_and_marks_it_consumed(start: Any) -> None:
    executor, engine = start(consumer_batch_size=4, max_head_offpolicyness=1)
    stream = FakeStream(4)
    for version in range(3):
        batch = executor.prepare_batch(stream, FunctionWorkflow(good))
        assert len(batch) == 4
        assert len(stream.consumed) == 4 * (version + 1)
        assert {int(traj["task_ids"][0]) for traj in batch} == set(stream.consumed[-4:])
        assert batch[0]["task_ids"].dtype == torch.int64
        engine.version += 1
        executor.on_version_changed()


def test_prepare_batch_arguments_may_change_between_calls(start: Any) -> None:
    async def better(engine: FakeEngine, data: dict[str, Any]) -> dict[str, torch.Tensor]:
        return tiny_trajectory(engine.version, reward=2.0)

    executor, engine = start(consumer_batch_size=2)
    first, second = FakeStream(2), FakeStream(2)
    executor.prepare_batch(first, FunctionWorkflow(good))
    batch = executor.prepare_batch
    engine.version = 1  # nobody told admission yet: the new workflow gets the whole next batch
    assert [float(traj["rewards"][0]) for traj in batch(second, FunctionWorkflow(better))] == [2.0, 2.0]
    assert first.consumed == [0, 1] == second.consumed


def test_prepare_batch_other_batch_size_than_the_account_is_refused(start: Any) -> None:
    executor, _ = start(consumer_batch_size=8)
    with pytest.raises(ConfigError, match=r"consumer_batch_size: expected .* 4, got 8"):
        executor.prepare_batch(FakeStream(4), FunctionWorkflow(good))


def test_prepare_batch_unset_batch_size_is_taken_from_the_stream(start: Any) -> None:
    executor, _ = start()
    assert len(executor.prepare_batch(FakeStream(6), FunctionWorkflow(good))) == 6


def test_prepare_batch_deterministic_is_ordered_and_repeatable(start: Any) -> None:
    async def jittery(engine: FakeEngine, data: dict[str, Any]) -> dict[str, torch.Tensor]:
        await asyncio.sleep(0.01 * (data["index"] % 3))
        return tiny_trajectory(engine.version)

    executor, _ = start(consumer_batch_size=8, deterministic_sampling=True)
    batch = executor.prepare_batch(FakeStream(8), FunctionWorkflow(jittery))
    assert [int(traj["task_ids"][0]) for traj in batch] == list(range(8))


def test_prepare_batch_failing_workflow_raises_its_cause_and_stays_failed(start: Any) -> None:
    async def bad(engine: FakeEngine, data: dict[str, Any]) -> None:
        data["answr"]

    executor, _ = start(consumer_batch_size=4, max_repeated_failures=3)
    for _ in range(2):
        with pytest.raises(UserCodeError, match="answr"):
            executor.prepare_batch(FakeStream(4), FunctionWorkflow(bad))


@pytest.mark.parametrize(("is_eval", "kept"), [(False, [0.0, 2.0]), (True, [0.0, 1.0, 2.0])])
def test_drop_truncated_leaves_cut_samples_out_of_training_only(start: Any, is_eval: bool, kept: list[float]) -> None:
    async def second_is_cut(engine: FakeEngine, data: dict[str, Any]) -> dict[str, torch.Tensor]:
        index = workflow_context.get().sample_idx
        return tiny_trajectory(engine.version, reward=float(index)) | {"truncated": torch.tensor([index == 1])}

    executor, _ = start(is_eval, consumer_batch_size=1, drop_truncated=True)
    (trajectory,) = executor.rollout_batch([{}], FunctionWorkflow(second_is_cut), group_size=3)
    assert trajectory["rewards"].tolist() == kept


def test_drop_truncated_answers_that_are_all_cut_end_as_truncated(start: Any) -> None:
    async def cut(engine: FakeEngine, data: dict[str, Any]) -> dict[str, torch.Tensor]:
        return tiny_trajectory(engine.version) | {"truncated": torch.tensor([True])}

    executor, _ = start(consumer_batch_size=1, drop_truncated=True)
    assert executor.rollout_batch([{}], FunctionWorkflow(cut), group_size=2) == []
    assert executor.export_stats()[stat_keys.OUTCOME_PREFIX + "truncated"] == 1


def test_drop_truncated_needs_a_workflow_that_says_what_was_cut(start: Any) -> None:
    async def silent(engine: FakeEngine, data: dict[str, Any]) -> dict[str, torch.Tensor]:
        return {key: value for key, value in tiny_trajectory(engine.version).items() if key != "truncated"}

    executor, _ = start(consumer_batch_size=1, drop_truncated=True, max_repeated_failures=1)
    with pytest.raises(UserCodeError, match=r"rollout.drop_truncated: expected FunctionWorkflow to return `truncated"):
        executor.rollout_batch([{}], FunctionWorkflow(silent))


def test_filter_by_dotted_path_rejects_and_a_failing_filter_stops(start: Any) -> None:
    executor, _ = start(consumer_batch_size=2, max_repeated_failures=2)
    executor.submit({}, FunctionWorkflow(good), should_accept_fn="tests.infra.test_workflow_executor.accept_none")
    assert executor.wait(1) == [None]
    with pytest.raises(UserCodeError, match="ZeroDivisionError"):
        executor.prepare_batch(FakeStream(2), FunctionWorkflow(good), should_accept_fn=lambda traj: 1 / 0)


def accept_none(trajectory: dict[str, torch.Tensor]) -> bool:
    return False


def test_submit_and_wait_return_oldest_first_in_deterministic_mode(start: Any) -> None:
    executor, _ = start(consumer_batch_size=100, deterministic_sampling=True)
    ids = [executor.submit({"index": index}, FunctionWorkflow(good)) for index in range(10)]
    assert ids == list(range(10))
    assert [int(traj["task_ids"][0]) for traj in executor.wait(4)] == [0, 1, 2, 3]
    assert int(executor.wait_for_task(7)["task_ids"][0]) == 7
    with pytest.raises(ValueError, match="task 7 is unknown or was returned already"):
        executor.wait_for_task(7)
    assert len(executor.wait(5)) == 5


def test_wait_timeout_raises_or_returns_nothing_and_loses_nothing(start: Any) -> None:
    async def slow(engine: FakeEngine, data: dict[str, Any]) -> dict[str, torch.Tensor]:
        await asyncio.sleep(0.3)
        return tiny_trajectory(0)

    executor, _ = start(consumer_batch_size=4)
    executor.submit({}, FunctionWorkflow(slow))
    with pytest.raises(DeadlineExceeded, match=r"wait\(1\): 0 of 1 done, gave up after 0.05 s; 1 running"):
        executor.wait(1, timeout=0.05)
    assert executor.wait(1, timeout=0.05, raise_timeout=False) == []
    assert executor.wait(1)[0] is not None
    with pytest.raises(ValueError, match="at least 1"):
        executor.wait(0)


def test_submit_duplicate_id_and_full_queue_are_refused(start: Any) -> None:
    executor, _ = start(consumer_batch_size=1, queue_size=2)
    executor.pause()
    executor.submit({}, FunctionWorkflow(good), task_id=5)
    with pytest.raises(ValueError, match="task_id 5 is in use"):
        executor.submit({}, FunctionWorkflow(good), task_id=5)
    executor.submit({}, FunctionWorkflow(good))
    with pytest.raises(ConfigError, match="fewer than 2 waiting tasks"):
        executor.submit({}, FunctionWorkflow(good))


def test_rollout_batch_keeps_the_order_and_drops_rejected(start: Any) -> None:
    async def odd_only(engine: FakeEngine, data: dict[str, Any]) -> dict[str, torch.Tensor] | None:
        await asyncio.sleep(0.02 - 0.002 * data["index"])
        return tiny_trajectory(0, reward=data["index"]) if data["index"] % 2 else None

    executor, _ = start(is_eval=True, consumer_batch_size=3)
    results = executor.rollout_batch([{"index": index} for index in range(8)], FunctionWorkflow(odd_only))
    assert [float(traj["rewards"][0]) for traj in results] == [1, 3, 5, 7]


def test_context_and_statistics_scope_belong_to_the_episode(start: Any) -> None:
    seen: set[tuple[int | None, str]] = set()

    async def look(engine: FakeEngine, data: dict[str, Any]) -> dict[str, torch.Tensor]:
        before = workflow_context.get().task_id
        await asyncio.sleep(0.01)
        assert before == workflow_context.get().task_id == data["index"]
        seen.add((before, workflow_context.stat_scope()))
        return tiny_trajectory(0)

    executor, _ = start(is_eval=True)
    executor.rollout_batch([{"index": index} for index in range(5)], FunctionWorkflow(look))
    assert seen == {(index, "eval-rollout") for index in range(5)}
    assert workflow_context.get().task_id is None


def test_dump_sees_every_accepted_trajectory(start: Any) -> None:
    dumped: list[tuple[int, bool]] = []
    executor, _ = start(dump=lambda traj, task_id, is_eval: dumped.append((task_id, is_eval)), consumer_batch_size=4)
    executor.prepare_batch(FakeStream(4), FunctionWorkflow(good))
    assert sorted(dumped) == [(index, False) for index in range(4)]


def test_malformed_trajectory_is_the_workflows_error(start: Any) -> None:
    async def malformed(engine: FakeEngine, data: dict[str, Any]) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.zeros(3)}

    executor, _ = start(check_trajectory_format=True, max_repeated_failures=2, consumer_batch_size=2)
    with pytest.raises(UserCodeError, match="attention_mask"):
        executor.prepare_batch(FakeStream(2), FunctionWorkflow(malformed))


def test_pause_starts_nothing_and_resume_goes_on(start: Any) -> None:
    executor, _ = start(consumer_batch_size=4)
    executor.pause()
    executor.submit({}, FunctionWorkflow(good))
    assert executor.wait(1, timeout=0.1, raise_timeout=False) == []
    assert "paused" in executor.wait_reason()
    executor.resume()
    assert executor.wait(1)[0] is not None


def test_statistics_report_lag_outcomes_and_gauges(start: Any) -> None:
    executor, engine = start(consumer_batch_size=4, max_head_offpolicyness=2)
    stream = FakeStream(4)
    for _ in range(3):
        executor.prepare_batch(stream, FunctionWorkflow(good), group_size=2)
        engine.version += 1
        executor.on_version_changed()
    stats = executor.export_stats()
    assert stats["rollout/accepted"] >= 12 and stats["rollout/rejected"] == 0
    assert 0 <= stats["rollout/lag_min"] <= stats["rollout/lag_mean"] <= stats["rollout/lag_max"] <= 2
    assert stats["rollout/zero_variance_share"] == 1.0 and stats["rollout/truncated_share"] == 0.0
    assert executor.export_stats()["rollout/accepted"] <= 4, "the second export starts afresh"


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # episodes that the dead loop never began
def test_thread_death_is_raised_to_the_waiting_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    async def leave(engine: FakeEngine, data: dict[str, Any]) -> None:
        sys.exit(3)

    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    executor = WorkflowExecutor(InferenceEngineConfig(consumer_batch_size=2), FakeEngine())
    executor.initialize()
    for _ in range(2):
        with pytest.raises(WorkerDied, match=r"died of SystemExit\(3\)"):
            executor.prepare_batch(FakeStream(2), FunctionWorkflow(leave))
    del executor
    gc.collect()


def test_blocking_call_from_the_rollout_thread_is_refused(start: Any) -> None:
    executor, _ = start(consumer_batch_size=2, max_repeated_failures=1)

    async def blocking(engine: FakeEngine, data: dict[str, Any]) -> None:
        executor.wait(1)

    executor.submit({}, FunctionWorkflow(blocking))
    with pytest.raises(UserCodeError, match="called a blocking method"):
        executor.wait(1)


def test_destroy_releases_a_waiting_caller_and_the_thread(start: Any) -> None:
    async def endless(engine: FakeEngine, data: dict[str, Any]) -> None:
        await asyncio.sleep(1e6)

    executor = WorkflowExecutor(InferenceEngineConfig(consumer_batch_size=2), FakeEngine())
    executor.initialize()
    threading.Timer(0.2, executor.destroy).start()
    with pytest.raises(InfraError, match="destroyed"):
        executor.prepare_batch(FakeStream(2), FunctionWorkflow(endless))
    deadline_s = time.monotonic() + 5
    while any(thread.name == "areal-rollout" for thread in threading.enumerate()):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
