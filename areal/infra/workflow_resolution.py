# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""From what users hand in (instance, class, registered name, dotted path) to a workflow that runs a group, and to a filter.

Used by the workflow executor. A group fails typed: its members are always awaited or cancelled, never left running.
"""

from __future__ import annotations

import asyncio
from typing import Any

from areal.api.engine_api import AcceptFn, InferenceEngine, Trajectory
from areal.api.io_struct import Outcome
from areal.api.workflow_api import RolloutWorkflow, WorkflowLike
from areal.utils import perf_tracer, workflow_context
from areal.utils.data import concat_padded_tensors
from areal.utils.dynamic_import import import_from_string
from areal.utils.errors import ConfigError, InfraError, UserCodeError
from areal.utils.logging import getLogger
from areal.utils.workflow_context import WorkflowContext
from areal.workflow.registry import find_workflow

logger = getLogger("rollout")

_FORMS = (
    "a RolloutWorkflow instance, a RolloutWorkflow class with workflow_kwargs, or the name or dotted path of either"
)


def resolve_workflow(
    workflow: WorkflowLike,
    workflow_kwargs: dict[str, Any] | None,
    group_size: int = 1,
    drop_incomplete_group: bool = False,
    drop_truncated: bool = False,
) -> RolloutWorkflow:
    """The workflow to run once per prompt: `group_size` episodes of what `workflow` names, without truncated ones on request.

    Raises `ConfigError` for anything else, agent objects included (they need the agent proxy, which this release lacks).
    """
    if group_size < 1:
        raise ConfigError(f"group_size: expected at least 1, got {group_size}")
    found = find_workflow(workflow) if isinstance(workflow, str) else workflow
    if isinstance(found, type) and issubclass(found, RolloutWorkflow):
        if workflow_kwargs is None:
            raise ConfigError(
                f"workflow {found.__name__} is a class: expected workflow_kwargs to build it from, got None"
            )
        found = found(**workflow_kwargs)
    elif isinstance(found, RolloutWorkflow) and workflow_kwargs:
        logger.warning("workflow_kwargs are ignored: the workflow %s is an instance already", type(found).__name__)
    if not isinstance(found, RolloutWorkflow):
        raise ConfigError(
            f"workflow: expected {_FORMS}, got {workflow!r}; agent objects (`async run(data)`) are not in this release: "
            "wrap the agent in a RolloutWorkflow"
        )
    if drop_truncated:
        found = WholeAnswersWorkflow(found)
    if group_size == 1:
        return found
    return GroupedRolloutWorkflow(found, group_size, drop_incomplete_group)


def resolve_accept_fn(should_accept_fn: AcceptFn | str | None) -> AcceptFn | None:
    """The trajectory filter, imported when it is named by a string; `ConfigError` when it cannot be called."""
    found = import_from_string(should_accept_fn) if isinstance(should_accept_fn, str) else should_accept_fn
    if found is not None and not callable(found):
        raise ConfigError(f"should_accept_fn: expected a function or the dotted path of one, got {should_accept_fn!r}")
    return found


class WholeAnswersWorkflow(RolloutWorkflow):
    """Runs a workflow and rejects, as `TRUNCATED`, a trajectory with an answer that the length limit cut."""

    def __init__(self, workflow: RolloutWorkflow) -> None:
        self.workflow = workflow

    async def arun_episode(self, engine: InferenceEngine, data: dict[str, Any]) -> Trajectory | None:
        """What the workflow returns, or None when one of its answers is truncated."""
        trajectory = await self.workflow.arun_episode(engine, data)
        if trajectory is None:
            return None
        if "truncated" not in trajectory:
            raise ConfigError(
                f"rollout.drop_truncated: expected {type(self.workflow).__name__} to return `truncated [b]`, got "
                f"{sorted(trajectory)}; return it, or unset the option"
            )
        return workflow_context.reject(Outcome.TRUNCATED) if bool(trajectory["truncated"].any()) else trajectory


class GroupedRolloutWorkflow(RolloutWorkflow):
    """Runs one workflow `group_size` times at once on the same item and joins the trajectories along the batch.

    A sample that yields None or whose user code failed is left out, or takes the whole group with it when
    `drop_incomplete_group`; failures are counted either way. An infrastructure error always ends the group: it runs again.
    """

    def __init__(self, workflow: RolloutWorkflow, group_size: int, drop_incomplete_group: bool = False) -> None:
        self.workflow = workflow
        self.group_size = group_size
        self.drop_incomplete_group = drop_incomplete_group

    async def arun_episode(self, engine: InferenceEngine, data: dict[str, Any]) -> Trajectory | None:
        """The joined trajectory `[num_samples, L]`, or None when no sample (or an incomplete group) is left."""
        context = workflow_context.get()
        contexts = [WorkflowContext(context.is_eval, context.task_id, index) for index in range(self.group_size)]
        members = [asyncio.create_task(self._run_member(engine, data, member)) for member in contexts]
        try:
            await self._settle(members)
        finally:
            for member in members:
                member.cancel()
            await asyncio.gather(*members, return_exceptions=True)
        return self._join(context, contexts, members)

    async def _run_member(
        self, engine: InferenceEngine, data: dict[str, Any], context: WorkflowContext
    ) -> Trajectory | None:
        workflow_context.set(context)
        perf_tracer.set_session_id(context.sample_idx)
        return await self.workflow.arun_episode(engine, data)

    async def _settle(self, members: list[asyncio.Task[Trajectory | None]]) -> None:
        """Wait for all members, but no longer once one failed in a way that ends the group."""
        pending = set(members)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
            errors = [_error_of(member) for member in done]
            if any(isinstance(error, InfraError) or (error and self.drop_incomplete_group) for error in errors):
                return

    def _join(
        self,
        context: WorkflowContext,
        contexts: list[WorkflowContext],
        members: list[asyncio.Task[Trajectory | None]],
    ) -> Trajectory | None:
        own_errors_first = sorted(members, key=asyncio.Task.cancelled)
        errors = [error for member in own_errors_first if (error := _error_of(member)) is not None]
        fatal = next((error for error in errors if isinstance(error, InfraError)), None)
        if fatal is None and errors and (self.drop_incomplete_group or len(errors) == self.group_size):
            fatal = errors[0]
        if fatal is not None:
            raise fatal
        context.member_errors = tuple(errors)
        finished = [member for member in members if _error_of(member) is None]
        kept = [trajectory for member in finished if (trajectory := member.result()) is not None]
        if not kept or (self.drop_incomplete_group and len(kept) < self.group_size):
            reasons = {member.rejection for member, task in zip(contexts, members) if task in finished}
            context.rejection = next(iter(reasons)) if len(reasons) == 1 else None
            return None
        return concat_padded_tensors(kept)


def _error_of(member: asyncio.Task[Trajectory | None]) -> BaseException | None:
    if member.cancelled():
        return UserCodeError("the workflow", "CancelledError", "the episode was cancelled")
    return member.exception()
