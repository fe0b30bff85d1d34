# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The one exception hierarchy of areal. All are picklable, so that they cross process boundaries unchanged.

A message says what was expected, what came, and what to do. User mistakes in a configuration are `ConfigError` (also a
`ValueError`); failures of machines, servers and transports are `InfraError`; exceptions out of user code (rewards,
workflows, filters) are `UserCodeError`. None of them is ever turned into a reward.
"""

from __future__ import annotations


class ArealError(Exception):
    """Base of every error areal raises on purpose."""


class ConfigError(ArealError, ValueError):
    """A configuration value, command line or input file is wrong."""


class InfraError(ArealError, RuntimeError):
    """A process, server, transport or disk failed; the sample it hit says nothing about the policy."""


class ServerDead(InfraError):
    """An inference server does not answer any more."""


class WorkerDied(InfraError):
    """A worker process ended while it was needed."""


class DeadlineExceeded(InfraError, TimeoutError):
    """Something was waited for longer than its deadline; the message says who waits for whom."""


class CheckpointError(ArealError):
    """A checkpoint could not be written or read; what was saved before is intact."""


class UserCodeError(ArealError):
    """User code raised, or ran past its deadline.

    `where` names the function, `cause_type` the exception class, `cause_text` its message (a traceback may follow it).
    """

    def __init__(self, where: str, cause_type: str, cause_text: str) -> None:
        super().__init__(where, cause_type, cause_text)
        self.where = where
        self.cause_type = cause_type
        self.cause_text = cause_text

    def __str__(self) -> str:
        return f"{self.where} failed with {self.cause_type}: {self.cause_text}"
