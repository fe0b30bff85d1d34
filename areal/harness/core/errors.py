# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Exit codes of the harness commands, and the errors that end a command with one of them.

Raised anywhere in the harness, turned into an exit code and a message by `areal.cli.envelope`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from areal.utils.errors import ArealError


class Exit(IntEnum):
    """What the exit code of a harness command means; agents branch on it."""

    DONE = 0  # done, or clean
    FINDINGS = 1  # findings, or a verification failed: the result is valid, act on it
    USAGE = 2  # wrong usage or configuration: nothing was done
    MISSING = 3  # something needed is not there (wheel, platform program, uv): skipped, not failed
    DECISION = 4  # an unknown name, or a decision is needed (choices in the JSON)
    INTERNAL = 5  # a bug; the message names the file with the traceback
    SCAFFOLD_FAILS = 10  # a scaffold was written, and its generated tests fail
    UNSUPPORTED = 11  # the class asked for is not supported


class HarnessError(ArealError):
    """A command cannot go on; `exit` is its exit code, `code` the stable code of what went wrong, `details` goes to the JSON."""

    exit = Exit.FINDINGS

    def __init__(self, message: str, *, code: str = "", next_action: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.next_action = next_action
        self.details = details

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.code, self.next_action, self.details)


class UsageProblem(HarnessError):
    """The command line or a source of the harness is wrong."""

    exit = Exit.USAGE


class MissingTool(HarnessError):
    """A program, wheel or file from outside is needed and not there."""

    exit = Exit.MISSING


class DecisionNeeded(HarnessError):
    """A name is unknown or ambiguous; `details["choices"]` lists what is possible."""

    exit = Exit.DECISION


def _rebuild(
    cls: type[HarnessError], message: str, code: str, next_action: str, details: dict[str, Any]
) -> HarnessError:
    return cls(message, code=code, next_action=next_action, **details)
