# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a Python program passes tests, run by an interpreter of its own with limits on time and memory.

Called by rewards of code, inside a worker of `AsyncRewardWrapper`. The limits stop accidents, not attacks: run it where the
model's programs may do what this user may do.
"""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

LIMITS = {"RLIMIT_AS": 1 << 30, "RLIMIT_FSIZE": 1 << 20, "RLIMIT_CORE": 0}
"""Bytes of memory, of a file that is written, of a core dump."""
_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)


def last_program(text: str) -> str:
    """The last fenced block of Python in a text (which may lack its end); the whole text when there is none."""
    blocks = _FENCE.findall(text)
    return blocks[-1] if blocks else text


def passes(program: str, tests: str, timeout_s: float = 5.0) -> bool:
    """Whether `program` followed by `tests` runs to its end without an exception, in an empty folder, within the limits."""
    verdict = f"passed-{secrets.token_hex(8)}"  # written last: a program that exits before the tests does not pass
    limits = (f"setrlimit({name}, ({limit}, {limit}))" for name, limit in LIMITS.items())
    prelude = f"from resource import *\n{'; '.join(limits)}\n"
    with tempfile.TemporaryDirectory(prefix="areal-program-") as folder:
        source = f"{prelude}\n{program}\n\n{tests}\n\nopen({verdict!r}, 'x').close()\n"
        try:
            subprocess.run(
                [sys.executable, "-I", "-c", source],
                cwd=folder,
                env={"PATH": ""},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=timeout_s,
                check=False,
            )
        except (subprocess.TimeoutExpired, ValueError):  # ValueError: a null byte in the text
            return False
        return (Path(folder) / verdict).is_file()
