# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Sequences on their way through the scheduler, and those of them that step together, in the runner's row order.

A step only notes its tokens and asks two questions of the whole batch: was a stop id drawn, and has the row nearest to its
limit reached it? Rows are looked at one by one only then, or when somebody reads a sequence. Owned by the scheduler.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from areal.api.io_struct import Version
from areal.engine.native.messages import FinishReason, GenerateRequest, Generation, VersionSpan


@dataclass(kw_only=True, slots=True)
class LiveSequence:
    """A request, how it ends, and what it has generated."""

    request: GenerateRequest
    future: Future[Generation]
    stop_ids: frozenset[int]
    max_new_tokens: int
    key: int
    output_ids: list[int] = field(default_factory=list)
    output_logprobs: list[float] = field(default_factory=list)
    span_starts: list[tuple[Version, int]] = field(default_factory=list)

    def begin_span(self, version: Version) -> None:
        """The tokens from here on are drawn under `version`."""
        if self.span_starts and self.span_starts[-1][1] == len(self.output_ids):
            self.span_starts.pop()
        self.span_starts.append((version, len(self.output_ids)))

    def spans(self) -> list[VersionSpan]:
        """The spans that hold tokens."""
        ends = [start for _, start in self.span_starts[1:]] + [len(self.output_ids)]
        pairs = zip(self.span_starts, ends, strict=False)
        return [VersionSpan(version=v, start=start, end=end) for (v, start), end in pairs if end > start]

    def end_reason(self) -> FinishReason | None:
        """Why it ends with its last token, if it does."""
        if self.output_ids and self.output_ids[-1] in self.stop_ids:
            return FinishReason.STOP
        return FinishReason.LENGTH if len(self.output_ids) >= self.max_new_tokens else None


class LiveRows:
    """The sequences of rows 0..R-1. Iterating or indexing shows them with every token noted so far."""

    def __init__(self) -> None:
        self._rows: list[LiveSequence] = []
        self._noted_ids: list[list[int]] = []
        self._noted_logprobs: list[list[float]] = []
        self._stop_ids: frozenset[int] = frozenset()
        self._steps_to_limit = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[LiveSequence]:
        self._hand_out()
        return iter(self._rows)

    def __getitem__(self, row: int) -> LiveSequence:
        self._hand_out()
        return self._rows[row]

    def join(self, sequences: Sequence[LiveSequence]) -> None:
        """New last rows."""
        self._use([*self, *sequences])

    def retain(self, order: Sequence[int]) -> None:
        """The new row i is the old row `order[i]`; rows not named are gone."""
        self._use([self[row] for row in order])

    def note(self, output_ids: list[int], output_logprobs: list[float]) -> bool:
        """Take one token a row; whether some row may end with it."""
        self._noted_ids.append(output_ids)
        self._noted_logprobs.append(output_logprobs)
        return len(self._noted_ids) >= self._steps_to_limit or not self._stop_ids.isdisjoint(output_ids)

    def _use(self, rows: list[LiveSequence]) -> None:
        self._rows = rows
        self._stop_ids = frozenset().union(*(s.stop_ids for s in rows))
        self._plan()

    def _hand_out(self) -> None:
        if not self._noted_ids:
            return
        columns = zip(self._rows, zip(*self._noted_ids), zip(*self._noted_logprobs), strict=True)
        for sequence, output_ids, output_logprobs in columns:
            sequence.output_ids += output_ids
            sequence.output_logprobs += output_logprobs
        self._noted_ids, self._noted_logprobs = [], []
        self._plan()

    def _plan(self) -> None:
        self._steps_to_limit = min((s.max_new_tokens - len(s.output_ids) for s in self._rows), default=0)
