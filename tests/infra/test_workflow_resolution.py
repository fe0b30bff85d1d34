# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Workflow forms and groups."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import torch

from areal.api.io_struct import Outcome
from areal.infra.workflow_resolution import GroupedRolloutWorkflow, resolve_accept_fn, resolve_workflow
from areal.utils import workflow_context
from areal.utils.errors import ConfigError, InfraError, ServerDead
from areal.utils.workflow_context import WorkflowContext
from tests.fakes import FunctionWorkflow, tiny_trajectory
from tests.virtual_clock import run_virtually

SHARED = FunctionWorkflow(lambda engine, data: None)


@pytest.mark.parametrize(
    ("workflow", "kwargs"),
    [
        (SHARED, None),
        (FunctionWorkflow, {"fn": max}),
        ("tests.fakes.FunctionWorkflow", {"fn": max}),
        ("tests.infra.test_workflow_resolution.SHARED", None),
    ],
)
def test_resolve_workflow_every_form_gives_a_workflow(workflow: Any, kwargs: dict[str, Any] | None) -> None:
    assert isinstance(resolve_workflow(workflow, kwargs), FunctionWorkflow)
    grouped = resolve_workflow(workflow, kwargs, group_size=3)
    assert isinstance(grouped, GroupedRolloutWorkflow) and grouped.group_size == 3


@pytest.mark.parametrize(
    ("workflow", "message"),
    [
        (FunctionWorkflow, "expected workflow_kwargs"),
        (object(), "agent objects .* are not in this release"),
        ("tests.fakes.tiny_trajectory", "expected a RolloutWorkflow instance"),
    ],
)
def test_resolve_workflow_anything_else_is_a_config_error(workflow: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_workflow(workflow, None)


def test_resolve_accept_fn_string_is_imported_and_other_values_refused() -> None:
    assert resolve_accept_fn("operator.truth")({"a": 1}) is True
    assert resolve_accept_fn(None) is None
    with pytest.raises(ConfigError, match="should_accept_fn"):
        resolve_accept_fn("math.pi")


Member = Callable[[int], Any]


def run_group(member: Member, size: int = 4, drop_incomplete: bool = False) -> tuple[Any, WorkflowContext, list[int]]:
    """Runs a group whose members are `async member(sample_idx)`; returns result, context and the members that ended."""
    ended: list[int] = []

    async def episode(engine: None, data: dict[str, Any]) -> Any:
        index = workflow_context.get().sample_idx
        assert index is not None
        try:
            return await member(index)
        finally:
            ended.append(index)

    async def scenario() -> tuple[Any, WorkflowContext, list[int]]:
        context = WorkflowContext(task_id=9)
        workflow_context.set(context)
        group = GroupedRolloutWorkflow(FunctionWorkflow(episode), size, drop_incomplete)
        try:
            return await group.arun_episode(None, {}), context, ended  # type: ignore[arg-type]
        finally:
            assert asyncio.all_tasks() == {asyncio.current_task()}, "a member still runs"

    return run_virtually(scenario())


async def varied(index: int) -> dict[str, torch.Tensor]:
    await asyncio.sleep(4 - index)
    return tiny_trajectory(0, reward=index)


def test_group_joins_members_in_sample_order() -> None:
    joined, _, _ = run_group(varied)
    assert joined["rewards"].tolist() == [0, 1, 2, 3] and joined["input_ids"].shape == (4, 3)


@pytest.mark.parametrize(("drop_incomplete", "expected"), [(False, [0, 2, 3]), (True, None)])
def test_group_none_member_is_left_out_or_drops_the_group(drop_incomplete: bool, expected: list[int] | None) -> None:
    async def member(index: int) -> Any:
        return None if index == 1 else await varied(index)

    joined, _, _ = run_group(member, drop_incomplete=drop_incomplete)
    assert (joined["rewards"].tolist() if joined is not None else None) == expected


def test_group_failing_member_is_left_out_and_noted() -> None:
    async def member(index: int) -> Any:
        if index == 2:
            raise KeyError("answer")
        return await varied(index)

    joined, context, ended = run_group(member)
    assert joined["rewards"].tolist() == [0, 1, 3] and sorted(ended) == [0, 1, 2, 3]
    assert [type(error) for error in context.member_errors] == [KeyError]


def test_group_failing_member_with_drop_incomplete_cancels_the_others_and_raises() -> None:
    async def member(index: int) -> Any:
        if index == 2:
            raise KeyError("answer")
        await asyncio.sleep(1e6)

    with pytest.raises(KeyError):
        run_group(member, drop_incomplete=True)


def test_group_infra_error_ends_the_group_for_a_retry() -> None:
    async def member(index: int) -> Any:
        if index == 2:
            raise ServerDead("gone")
        await asyncio.sleep(1e6)

    with pytest.raises(InfraError, match="gone"):
        run_group(member)


def test_group_all_members_failing_raises_the_first_cause() -> None:
    async def member(index: int) -> Any:
        raise ValueError(f"member {index}")

    with pytest.raises(ValueError, match="member 0"):
        run_group(member)


def test_group_all_members_truncated_is_rejected_as_truncated() -> None:
    async def member(index: int) -> Any:
        return workflow_context.reject(Outcome.TRUNCATED)

    joined, context, _ = run_group(member)
    assert joined is None and context.rejection == Outcome.TRUNCATED
