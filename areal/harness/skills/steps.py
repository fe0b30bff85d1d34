# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the commands of a skill in a folder, with the programs of this Python and the sources of that folder."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from areal.harness.core.errors import MissingTool
from areal.harness.skills.definition import Step
from areal.harness.skills.problems import StepFailed
from areal.harness.skills.stage import git_environment

TAIL_LINES = 20
KILLED = 124
PLACE = re.compile(r"(?P<file>[\w./-]+\.(?:py|md|yaml|j2)):(?P<line>\d+)")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended."""

    id: str
    command: str
    exit: int
    seconds: float
    output: str
    shown: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For the JSON of a run; the output only where the command failed or the step declares that it tells something."""
        out = {"id": self.id, "command": self.command, "exit": self.exit, "seconds": round(self.seconds, 2)}
        return out | ({"tail": self.tail} if self.exit or self.shown else {})

    @property
    def tail(self) -> str:
        """The last lines of the output."""
        return "\n".join(self.output.rstrip().splitlines()[-TAIL_LINES:])

    def place(self, own: Sequence[str] = ()) -> str:
        """The last `file:line` that the output names: of the `own` files, else of the repository."""
        places = [match for match in PLACE.finditer(self.output) if not match["file"].startswith("/")]
        mine = [match for match in places if match["file"] in own]
        return (mine or places)[-1].group(0) if places else ""

    @property
    def advice(self) -> str:
        """What the command itself said to do next, where it is one of ours."""
        said = [line.strip() for line in self.output.splitlines() if line.startswith("next: ")]
        return said[-1].removeprefix("next: ") if said else ""


def environment_of(folder: Path) -> dict[str, str]:
    """This process's environment with the sources of `folder` first on the path and the programs of this Python first."""
    out = git_environment()
    out["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), out.get("PATH", os.defpath)])
    out["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), out.get("PYTHONPATH", "")]))
    out.setdefault("OMP_NUM_THREADS", "1")
    out["PYTHONHASHSEED"] = "0"
    for name in ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST"):
        out.pop(name, None)
    return out


def program_of(words: Sequence[str]) -> list[str]:
    """The words with the programs that are Python modules run by this very Python, installed as a script or not."""
    modules = {"areal": "areal.cli.main", "pytest": "pytest", "ruff": "ruff", "mdformat": "mdformat"}
    if words[0] in ("python", "python3"):
        return [sys.executable, *words[1:]]
    if words[0] in modules:
        return [sys.executable, "-m", modules[words[0]], *words[1:]]
    return list(words)


def run_command(step_id: str, words: Sequence[str], folder: Path, timeout_s: float) -> Outcome:
    """Run one command to its end or its deadline; `MissingTool` (S043) when there is no such program."""
    environment = environment_of(folder)
    command = program_of(words)
    if shutil.which(command[0], path=environment["PATH"]) is None:
        raise MissingTool(
            f"step {step_id}: no program {command[0]!r}",
            code="S043",
            next_action=f"install {command[0]} (make install sets up what the skills need)",
            step=step_id,
            command=shlex.join(words),
        )
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        code = KILLED
    finally:
        if process.poll() is None:  # interrupted: the command must not go on alone
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    text = output.decode("utf-8", "replace")
    return Outcome(id=step_id, command=shlex.join(words), exit=code, seconds=time.monotonic() - started, output=text)


def check_outcome(outcome: Outcome, step: Step, phase: str, next_action: str, own: Sequence[str] = ()) -> None:
    """`StepFailed` with the step, the command, the place in the skill's `own` files, the last lines and what to do, unless all
    is well."""
    if outcome.exit == KILLED:
        code, why = "S042", f"ran longer than {step.timeout_s:.0f} s"
    elif outcome.exit:
        code, why = "S041" if phase == "VERIFY" else "S040", f"exit {outcome.exit}"
    elif step.expect and step.expect not in outcome.output:
        code, why = "S041", f"its output does not hold {step.expect!r}"
    else:
        return
    place = outcome.place(own)
    where = f" at {place}" if place else ""
    raise StepFailed(
        f"{phase} {step.id} FAILED ({why}){where}\n  command: {outcome.command}\n{_indented(outcome.tail)}",
        code=code,
        next_action=next_action,
        step=step.id,
        command=outcome.command,
        command_exit=outcome.exit,
        place=place,
        tail=outcome.tail,
    )


def _indented(text: str) -> str:
    return "\n".join(f"  | {line}" for line in text.splitlines())


def file_lists(
    created: Sequence[str], changed: Sequence[str], generated_tests: Sequence[str]
) -> Mapping[str, list[str]]:
    """What `{changed}`, `{changed_python}`, `{changed_markdown}` and `{generated_tests}` stand for."""
    every = sorted({*created, *changed})
    return {
        "changed": every,
        "changed_python": [path for path in every if path.endswith(".py")],
        "changed_markdown": [path for path in every if path.endswith(".md")],
        "generated_tests": list(generated_tests),
    }
