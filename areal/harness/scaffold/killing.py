# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""How many mutants of a module its tests kill: `python -m areal.harness.scaffold.killing MODULE.py TEST.py...`.

Writes each mutant over the module, so it must run in a throw-away copy. Each runs in a fork of one process that has imported
what the tests need, all but the module itself, which makes a mutant cost what its first failing test costs.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from areal.harness.scaffold.mutants import Mutant, mutants

MIN_DEADLINE_S = 20.0
SURVIVED = 0
PYTEST = ("-q", "-p", "no:cacheprovider", "-o", "addopts=")
ROOTS = ("torch", "transformers", "datasets", "numpy", "math_verify", "sympy", "pyarrow", "_pytest", "pytest", "areal")
"""Packages that a fork need not import again."""


@dataclass
class Score:
    """How many mutants were killed, and the descriptions of those that were not."""

    total: int = 0
    killed: int = 0
    survivors: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Killed mutants of all; 1 when there are none."""
        return self.killed / self.total if self.total else 1.0


def kill_mutants(module: Path, tests: Sequence[str], sample: int | None = None, seed: int = 0) -> Score:
    """Run the tests on every mutant of a module (or on a random sample); `RuntimeError` when they fail without a change."""
    original = module.read_text(encoding="utf-8")
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for stale in (module.parent / "__pycache__").glob(f"{module.stem}.*.pyc"):
        stale.unlink()
    _preload(module, tests)
    started = time.monotonic()
    if _run(tests, MIN_DEADLINE_S * 10) != SURVIVED:
        raise RuntimeError(f"the tests of {module} fail without any mutation")
    deadline_s = max(MIN_DEADLINE_S, 4 * (time.monotonic() - started))
    chosen: list[Mutant] = mutants(original)
    if sample is not None and sample < len(chosen):
        chosen = sorted(random.Random(seed).sample(chosen, sample), key=lambda mutant: mutant.line)
    score = Score(total=len(chosen))
    try:
        for mutant in chosen:
            module.write_text(mutant.source, encoding="utf-8")
            if _run(tests, deadline_s) == SURVIVED:
                score.survivors.append(f"{module}:{mutant.line} {mutant.what}")
            else:
                score.killed += 1
    finally:
        module.write_text(original, encoding="utf-8")
    return score


def _preload(module: Path, tests: Sequence[str]) -> None:
    """Import here what a run of the tests imports, but neither the tests nor anything that mentions the module."""
    names = json.loads(_in_fork(lambda: _loaded_by(tests), MIN_DEADLINE_S * 10) or "[]")
    for name in names:
        if name.split(".")[0] != "areal":
            _try_import(name)
        else:
            spec = importlib.util.find_spec(name)
            text = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else module.stem
            if module.stem not in text and not module.samefile(str(spec.origin if spec else module)):
                _try_import(name)
    target = ".".join(module.with_suffix("").parts[-3:])
    assert not any(name.endswith(f".{module.stem}") and name.startswith("areal.") for name in sys.modules), target


def _try_import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError:
        return  # a test helper or a name that exists only inside another package


def _loaded_by(tests: Sequence[str]) -> str:
    import pytest

    pytest.main([*PYTEST, "--collect-only", *tests])
    packages = (*ROOTS, "areal.", "_pytest.")
    return json.dumps(sorted(name for name in sys.modules if name in packages or name.startswith(packages[-2:])))


def _run(tests: Sequence[str], deadline_s: float) -> int:
    """Exit code of the tests in a fork; -1 when they did not end in time."""

    def work() -> str:
        import pytest

        return str(int(pytest.main([*PYTEST, "-x", *tests])))

    return int(_in_fork(work, deadline_s) or -1)


def _in_fork(work: Callable[[], str], deadline_s: float) -> str:
    """What `work()` returns in a fork of this process; empty when it broke or took too long."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        try:
            os.write(writer, work().encode())
        finally:
            os._exit(0)
    os.close(writer)
    output = _read_until(reader, time.monotonic() + deadline_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # and whatever processes the tests left
    os.waitpid(child, 0)
    os.close(reader)
    return output.decode()


def _read_until(reader: int, deadline: float) -> bytes:
    data = b""
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([reader], [], [], left)
        if not ready:
            return b""
        part = os.read(reader, 1 << 16)
        if not part:
            break
        data += part
    return data


def main() -> int:
    """Print the score as JSON; 0 when at least `--at-least` of the mutants were killed."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("module", type=Path)
    parser.add_argument("tests", nargs="+")
    parser.add_argument("--sample", type=int, help="how many mutants, chosen at random (default: all)")
    parser.add_argument("--at-least", type=float, default=0.9, help="share that must be killed (default: %(default)s)")
    args = parser.parse_args()
    score = kill_mutants(args.module, args.tests, args.sample)
    sys.stdout.write(json.dumps(asdict(score) | {"share": round(score.share, 3)}, indent=1) + "\n")
    return 0 if score.share >= args.at_least else 1


if __name__ == "__main__":
    sys.exit(main())
