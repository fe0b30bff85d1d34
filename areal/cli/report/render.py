# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""From a loaded run to one HTML file without any outside reference.

Texts of the run (tokens, prompts, config) are untrusted: Jinja escapes what it places, data travels as JSON in which no
character can end a script element, and the scripts build nodes with `textContent` only. A content security policy
forbids the page every connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2

from areal.cli.report.load import Run
from areal.cli.report.overview import header, invariants, tiles
from areal.cli.report.panels import all_statistics, panel_groups
from areal.cli.report.timeline import timeline_data
from areal.utils.jsonl import to_line

_SCRIPTS = ("common.js", "charts.js", "timeline.js", "rollouts.js")
# About 70 bytes a token: the viewer stays below 5 MB. Steps that do not fit are left out evenly and named.
_MAX_TOKENS = 60_000
# In JSON these can only stand inside strings, where the escape means the same character.
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def render(run: Run) -> str:
    """The report of `run` as one HTML document."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("areal.cli.report", "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    rollouts, num_steps_left_out = choose_rollouts(run.rollouts, _MAX_TOKENS)
    notes = list(run.notes)
    if num_steps_left_out:
        notes.append(f"rollouts of {num_steps_left_out} steps are left out to keep this file small")
    data = {
        "groups": panel_groups(run),
        "timeline": timeline_data(run),
        "rollouts": rollouts,
        "statistics": all_statistics(run),
    }
    template = environment.get_template("report.html.jinja")
    return template.render(
        header=header(run),
        tiles=tiles(run),
        invariants=invariants(run),
        data=data,
        data_json=script_json(data),
        is_supervised=run.is_supervised,
        config_text=run.config_text,
        notes=notes,
        style=_source(environment, "style.css"),
        scripts=[_source(environment, name) for name in _SCRIPTS],
    )


def script_json(data: dict[str, Any]) -> str:
    """`data` as JSON that is safe inside a script element."""
    text = to_line(data).rstrip("\n")
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text


def choose_rollouts(rollouts: dict[int, list[dict[str, Any]]], max_tokens: int) -> tuple[list[dict[str, Any]], int]:
    """Steps to show, first and last always among them, evenly spaced so that about `max_tokens` are shown in all."""
    steps = sorted(rollouts)
    total = sum(_num_tokens(records) for records in rollouts.values())
    if total > max_tokens and len(steps) > 2:
        num_kept = max(int(len(steps) * max_tokens / total), 2)
        steps = [steps[round(i * (len(steps) - 1) / (num_kept - 1))] for i in range(num_kept)]
    return [{"step": step, "records": rollouts[step]} for step in steps], len(rollouts) - len(steps)


def _num_tokens(records: Sequence[dict[str, Any]]) -> int:
    return sum(len(record["tokens"].get("id", ())) for record in records)


def _source(environment: jinja2.Environment, name: str) -> str:
    """A file of this package, placed as it is: it is code of ours, not data of a run."""
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
