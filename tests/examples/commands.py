# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the commands that the READMEs show, in this process, and reads what the runs leave behind."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from areal.utils import names
from areal.utils import stat_keys as keys
from areal.utils.jsonl import read_jsonl

ROOT = Path(__file__).parents[2]


def commands_of(markdown: Path, script: str) -> list[list[str]]:
    """Every shell command in the code blocks of `markdown` that runs a Python script whose path holds `script`."""
    blocks = re.findall(r"```bash\n(.*?)```", markdown.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines]
    return [command[1:] for command in commands if command[:1] == ["python"] and script in command[1]]


def table_rows(markdown: Path) -> dict[str, list[str]]:
    """First cell -> the words of the code in the second, for the rows of a table that have code there."""
    rows = re.findall(r"^\| (.+?) +\| (.+?) +\|$", markdown.read_text(encoding="utf-8"), re.MULTILINE)
    found = {name: re.findall(r"`([^`]+)`", cell) for name, cell in rows if cell.startswith("`")}
    return {name: shlex.split(" ".join(code)) for name, code in found.items()}


def run(command: Sequence[str]) -> None:
    """Run `script.py arguments...` by its `main(argv)`."""
    script, *argv = command
    runpy.run_path(str(ROOT / script), run_name="example")["main"](argv)


def rows_and_summary(fileroot: Path, experiment: str, trial: str) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """What a run recorded; every invariant that was measured held in every step."""
    run_dir = names.log_dir(str(fileroot), experiment, trial)
    rows, num_malformed = read_jsonl(run_dir / keys.STATS_FILE)
    assert num_malformed == 0
    for row in rows:
        assert all(row.get(keys.invariant_ok(name), 1.0) == 1.0 for name in keys.INVARIANTS), row
    return rows, json.loads((run_dir / keys.SUMMARY_FILE).read_text())
