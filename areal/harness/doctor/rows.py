# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A row of the doctor's table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum


class State(StrEnum):
    """What a row means: `bad` keeps areal from running, `warn` costs something, `off` is not there and not needed."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"
    OFF = "off"


@dataclass(frozen=True)
class Row:
    """Something that was looked at: what was found, and the command that mends it unless it is well."""

    topic: str
    name: str
    state: State
    found: str
    mend: str = ""

    def as_dict(self) -> dict[str, str]:
        """The row as JSON."""
        return {key: str(value) for key, value in asdict(self).items()}


def table(rows: Sequence[Row]) -> str:
    """Rows as aligned text, the command to run under the rows that need one."""
    widths = [max(len(value) for value in column) for column in zip(*((r.topic, r.name, r.state) for r in rows))]
    lines = []
    for row in rows:
        lines.append(
            f"{row.state:<{widths[2]}}  {row.topic:<{widths[0]}}  {row.name:<{widths[1]}}  {row.found}".rstrip()
        )
        if row.mend and row.state is not State.OK:
            lines.append(f"{'':<{widths[2]}}  run: {row.mend}")
    return "\n".join(lines)
