# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What goes in and out of the native engine. Plain frozen data without torch; `request_parser` makes it from JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from areal.api.io_struct import Version
from areal.utils.errors import ArealError


class FinishReason(str, Enum):
    """Why a generation ended: a stop id, the length limit, or an abort (client, pause or shutdown)."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"


class PauseMode(str, Enum):
    """`keep` freezes live sequences, `abort` returns them with what they have."""

    KEEP = "keep"
    ABORT = "abort"


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How to draw tokens. `top_k <= 0` and `top_p = 1` are off; `temperature = 0` means greedy.

    The noise of output token i depends on `seed` and `rng_offset + i` alone: a continuation of k earlier tokens passes
    `rng_offset=k`. Without a seed the server draws one. `ignore_eos` ignores the model's own end ids, not `stop_token_ids`.
    """

    max_new_tokens: int = 16384
    min_new_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    stop_token_ids: tuple[int, ...] = ()
    greedy: bool = False
    seed: int | None = None
    ignore_eos: bool = False
    rng_offset: int = 0

    @property
    def is_greedy(self) -> bool:
        """Whether the most likely token is taken."""
        return self.greedy or self.temperature == 0.0


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """One sample of one prompt."""

    request_id: str
    input_ids: tuple[int, ...]
    sampling: SamplingParams = field(default_factory=SamplingParams)


@dataclass(frozen=True, kw_only=True)
class VersionSpan:
    """Output tokens `start..end-1` were drawn under weight `version`."""

    version: Version
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Generation:
    """A finished sample. `output_logprobs` are of the distribution drawn from (greedy: of the plain softmax)."""

    request_id: str
    output_ids: list[int]
    output_logprobs: list[float]
    version_spans: list[VersionSpan]
    finish_reason: FinishReason


class RequestError(ArealError, ValueError):
    """The client's request cannot be served as it is; `status` is the HTTP status that says so."""

    def __init__(self, error: str, *, expected: str, got: str, hint: str, status: int = 400) -> None:
        super().__init__(error, expected, got, hint, status)
        self.error = error
        self.expected = expected
        self.got = got
        self.hint = hint
        self.status = status

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_request_error, self.args

    def __str__(self) -> str:
        return f"{self.error}: expected {self.expected}, got {self.got}; {self.hint}"


def _rebuild_request_error(error: str, expected: str, got: str, hint: str, status: int) -> RequestError:
    return RequestError(error, expected=expected, got=got, hint=hint, status=status)
