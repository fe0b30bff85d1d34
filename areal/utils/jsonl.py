# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""JSON lines that other tools can read and that a killed process cannot spoil.

Statistics, traces and rollout dumps are written with `to_line` and read with `read_jsonl`. A process killed while
writing leaves at most one torn line; the reader skips and counts it. JSON has no NaN or infinity: they travel as the
strings "nan", "inf", "-inf", and `to_float` turns them back.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


def to_line(record: dict[str, Any]) -> str:
    """`record` as one line of strict JSON, newline included."""
    try:
        return json.dumps(record, allow_nan=False, ensure_ascii=False, separators=(",", ":")) + "\n"
    except ValueError:  # a non-finite number somewhere: rare, so only then walk the record
        return json.dumps(_finite(record), allow_nan=False, ensure_ascii=False, separators=(",", ":")) + "\n"


def read_jsonl(path: str | Path) -> tuple[list[dict[str, Any]], int]:
    """The records of a file and the number of lines that are not a JSON object (torn by a kill, or damaged)."""
    records: list[dict[str, Any]] = []
    num_malformed = 0
    with Path(path).open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if isinstance(record, dict):
                records.append(record)
            else:
                num_malformed += 1
    return records, num_malformed


def to_float(value: Any) -> float | None:
    """A number written by `to_line` (non-finite ones included), or None for anything else."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float):
        return float(value)
    return float(value) if value in ("nan", "inf", "-inf") else None


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
