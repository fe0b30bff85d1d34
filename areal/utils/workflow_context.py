# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Which episode the running coroutine belongs to.

The rollout executor sets it for an episode and grouping for each sample; workflows, statistics and the request seeds read
it. It lives in a `contextvars` variable, so concurrent episodes never see each other's. It must never reach across processes.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class WorkflowContext:
    """Identity of an episode: its task, the sample inside its group, and whether it evaluates or trains.

    `rejection` (why the episode yields nothing) and `member_errors` (samples a group went on without) are notes from the
    workflow to the executor.
    """

    is_eval: bool = False
    task_id: int | None = None
    sample_idx: int | None = None
    rejection: str | None = field(default=None, compare=False)
    member_errors: tuple[BaseException, ...] = field(default=(), compare=False)


_current: ContextVar[WorkflowContext | None] = ContextVar("areal_workflow_context", default=None)


def get() -> WorkflowContext:
    """The context of the running coroutine; a neutral one outside any episode."""
    return _current.get() or WorkflowContext()


def set(context: WorkflowContext) -> None:
    """Make `context` that of the running coroutine and of the tasks it starts from now on."""
    _current.set(context)


def stat_scope() -> str:
    """Name of the statistics tracker of this episode: `rollout`, or `eval-rollout` when it evaluates."""
    return "eval-rollout" if get().is_eval else "rollout"


def reject(reason: str) -> None:
    """Note why the episode yields nothing (an `Outcome` value); a workflow writes `return workflow_context.reject(...)`."""
    get().rejection = reason
