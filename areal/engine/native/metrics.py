# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Counters of the native engine and their Prometheus text form. Written by the scheduler's thread, read by anyone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

_PREFIX = "areal_native_"


@dataclass(kw_only=True)
class Counters:
    """Totals since start. Token counts exclude padding; `step_seconds` is wall time of steps that did work."""

    requests_total: int = 0
    requests_stop_total: int = 0
    requests_length_total: int = 0
    requests_abort_total: int = 0
    requests_failed_total: int = 0
    requests_rejected_total: int = 0
    generated_tokens_total: int = 0
    prompt_tokens_total: int = 0
    prefill_computed_tokens_total: int = 0
    prefill_cached_tokens_total: int = 0
    recomputed_tokens_total: int = 0
    weight_loads_total: int = 0
    steps_total: int = 0
    step_seconds_total: float = 0.0


_HELP = {
    "requests_total": "requests accepted",
    "requests_stop_total": "requests ended by a stop id",
    "requests_length_total": "requests ended by the length limit",
    "requests_abort_total": "requests ended by an abort",
    "requests_failed_total": "requests failed for non-finite log-probs",
    "requests_rejected_total": "requests refused because the queue was full",
    "generated_tokens_total": "tokens drawn",
    "prompt_tokens_total": "prompt tokens of accepted requests that were started",
    "prefill_computed_tokens_total": "prompt tokens computed",
    "prefill_cached_tokens_total": "prompt tokens shared with another sample of the group",
    "recomputed_tokens_total": "tokens of live sequences computed again after a weight load",
    "weight_loads_total": "weight loads applied",
    "steps_total": "decode steps",
    "step_seconds_total": "wall seconds of steps, prefill included",
    "running": "live sequences",
    "waiting": "sequences waiting for a slot",
    "paused": "1 while paused",
    "version": "weight version served",
}


def prometheus_text(counters: Counters, gauges: Mapping[str, float]) -> str:
    """The text exposition format, version 0.0.4."""
    lines: list[str] = []
    values = [(f.name, "counter", counters.__dict__[f.name]) for f in fields(counters)]
    values += [(name, "gauge", value) for name, value in gauges.items()]
    for name, kind, value in values:
        lines += [f"# HELP {_PREFIX}{name} {_HELP[name]}", f"# TYPE {_PREFIX}{name} {kind}", f"{_PREFIX}{name} {value}"]
    return "\n".join(lines) + "\n"
