# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Counts failed episodes by cause and decides when failing stops the run.

User-code errors: `limit` failures with the same cause and no finished episode in between. Infrastructure errors: the
same task failing `limit` attempts, because one dead server hits every running task at once and that is one incident.
Used by the rollout core only. It never swallows an error: each is counted and the first of its kind is logged.
"""

from __future__ import annotations

import traceback
from collections import Counter
from pathlib import Path

from areal.utils.errors import ArealError, InfraError, UserCodeError
from areal.utils.logging import getLogger

logger = getLogger("rollout")

RETRY_FIRST_S = 0.1
"""Delay before the second attempt after an infrastructure error; doubles per attempt."""
RETRY_MAX_S = 10.0
"""Longest such delay: a restarted server takes about this long to load a small model."""


def cause_of(error: BaseException) -> UserCodeError | InfraError:
    """Type an error out of an episode; `InfraError` and `UserCodeError` pass unchanged."""
    if isinstance(error, (InfraError, UserCodeError)):
        return error
    details = "".join(traceback.format_exception(error)).rstrip()
    return UserCodeError(_where(error), type(error).__name__, f"{error}\n{details}")


def cause_key(cause: ArealError) -> str:
    """`Type@place`: failures with the same key have the same cause."""
    if isinstance(cause, UserCodeError):
        return f"{cause.cause_type}@{cause.where}"
    return f"{type(cause).__name__}@{_where(cause)}"


def retry_delay_s(num_attempts: int) -> float:
    """Seconds to wait after `num_attempts` failed attempts."""
    return min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** (num_attempts - 1))


class FailureBudget:
    """Error counters (`counts`, by cause key) and the consecutive failures of each cause."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.counts: Counter[str] = Counter()
        self._streaks: Counter[str] = Counter()

    def on_success(self) -> None:
        """An episode ran to its end."""
        self._streaks.clear()

    def note(self, error: BaseException) -> None:
        """Count an error that did not fail its task (a group went on without the sample)."""
        self._record(cause_of(error))

    def on_user_error(self, task_id: int, error: BaseException) -> UserCodeError | None:
        """Count a failed task; returns the error that stops the run once the budget is spent."""
        cause = cause_of(error)
        assert isinstance(cause, UserCodeError), f"an infrastructure error is retried, not counted here: {cause!r}"
        key = self._record(cause)
        self._streaks[key] += 1
        if self._streaks[key] < self.limit:
            return None
        text = (
            f"{cause.cause_text}\n{self.limit} episodes in a row failed this way, the last one on task {task_id}; expected "
            "the workflow, its reward and its filter to run: fix them, or raise rollout.max_repeated_failures"
        )
        return _chained(UserCodeError(cause.where, cause.cause_type, text), error)

    def on_infra_error(self, task_id: int, num_attempts: int, error: InfraError) -> InfraError | None:
        """Count a failed attempt; returns the error that stops the run when the task may not be tried again."""
        self._record(error)
        if num_attempts < self.limit:
            return None
        text = (
            f"task {task_id} failed {num_attempts} times in a row with {type(error).__name__}: {error}; "
            "check the inference servers' logs, or raise rollout.max_repeated_failures"
        )
        return _chained(InfraError(text), error)

    def _record(self, cause: UserCodeError | InfraError) -> str:
        key = cause_key(cause)
        self.counts[key] += 1
        num = self.counts[key]
        if num & (num - 1) == 0:  # the 1st, 2nd, 4th, 8th ...: a failing run must not bury its log
            logger.warning("episode failed (%d so far with this cause): %s", num, cause)
        return key


def _chained(error: UserCodeError | InfraError, cause: BaseException) -> UserCodeError | InfraError:
    error.__cause__ = cause
    return error


def _where(error: BaseException) -> str:
    frames = list(traceback.walk_tb(error.__traceback__))
    if not frames:
        return "unknown"
    frame, line = frames[-1]
    return f"{Path(frame.f_code.co_filename).name}:{line} {frame.f_code.co_name}"
