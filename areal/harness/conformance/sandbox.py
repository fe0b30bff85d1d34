# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A throw-away checkout, home folder and network in which a platform's program runs."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from areal.harness.core.tree import Tree
from areal.harness.generate.sources import AGENTS

TIMEOUT_S = 120
# All that a platform's program reads of a checkout.
SHOWN = ("AGENTS.md", "CLAUDE.md", "pyproject.toml", ".agents/", ".claude/", ".codex/", ".opencode/")
BLOCKED = "http://127.0.0.1:9"  # the discard port: whatever is sent there goes nowhere


@dataclass(frozen=True)
class Check:
    """One thing that a platform's program was asked, and what it said."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True)
class Sandbox:
    """The copy of the checkout and the home folder of one platform."""

    checkout: Path
    home: Path

    def environment(self, **more: str) -> dict[str, str]:
        """What a program sees: no settings of the user, areal on PATH for hooks, every proxy a dead end."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), BLOCKED)
        base = {
            "HOME": str(self.home),
            "PATH": path,
            "LANG": "C.UTF-8",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        return base | proxies | more

    def run(
        self, *command: str, timeout_s: float = TIMEOUT_S, alone: bool = True, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the copy; `alone` takes its network away where the system allows that.

        Its output goes to files: programs that end before a pipe is drained lose what is beyond 64 KiB.
        """
        prefix = isolation() if alone else []
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            done = subprocess.run(
                [*prefix, *command],
                cwd=self.checkout,
                env=self.environment(**env),
                stdout=out,
                stderr=err,
                timeout=timeout_s,
                stdin=subprocess.DEVNULL,
                check=False,
            )
            texts = [_text_of(file) for file in (out, err)]
        return subprocess.CompletedProcess(done.args, done.returncode, *texts)


def _text_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", errors="replace")


@functools.cache
def isolation() -> list[str]:
    """The command prefix that starts a program without a network; empty where that is not possible."""
    if shutil.which("unshare") is None:
        return []
    works = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode == 0
    return ["unshare", "-rn"] if works else []


def make_sandbox(root: Path, folder: Path) -> Sandbox:
    """Copy what the platforms read into a new git repository below `folder`."""
    checkout, home = folder / "checkout", folder / "home"
    home.mkdir(parents=True)
    new = (path.relative_to(root).as_posix() for path in (root / AGENTS).rglob("*") if path.is_file())
    commands = (path.relative_to(root).as_posix() for path in (root / ".claude" / "commands").glob("*.md"))
    for name in {*Tree(root).files, *new, *commands}:  # new ones also before `git add`
        if name.startswith(SHOWN):
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, checkout / name)
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=checkout, capture_output=True, check=True)
    return Sandbox(checkout.resolve(), home.resolve())


def missing(expected: set[str], found: set[str]) -> str:
    """What is expected and was not found, for the detail of a check."""
    lost = sorted(expected - found)
    return f"not loaded: {', '.join(lost)}" if lost else f"{len(expected)} of {len(expected)}"
