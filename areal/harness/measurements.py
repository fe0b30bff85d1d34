# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The suites of `areal harness eval` that run commands as people do: audits, a review, a reward, the pages.

They write only into temporary copies and caches. Called by `evaluation.py`.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from areal.harness.apiaudit.library.wheels import environment, installed
from areal.harness.apiaudit.mutations import score
from areal.harness.apiaudit.packages import Package, find_package
from areal.harness.apiaudit.probe import probe
from areal.harness.apiaudit.service import audit_discovered, discover_packages
from areal.harness.core.errors import HarnessError
from areal.harness.core.tree import Tree
from areal.harness.docs.sync import compare_all
from areal.harness.skills.stage import IDENTITY, git, staged

AUDITED = ("transformers", "datasets", "torch")
FETCHED = ("transformers", "datasets", "torchao")
"""Without torch, whose wheel takes longer to download than all that is measured here."""
FOLDERS = ("areal", "examples", "benchmarks", "tests")
SEEDED_OF_EACH_KIND = 4
NUM_REVIEWED = 100
TIMEOUT_S = 600
Metrics = dict[str, Any]


class Run(NamedTuple):
    """What one command took, on the clock and of processors (which other processes do not stretch), and its exit code."""

    wall_s: float
    cpu_s: float
    code: int


def audit_suite(tree: Tree) -> Metrics:
    """Audits of what is installed: time, seeded breaks found, false alarms, agreement with an import (M7, M9, M11)."""
    return {name: _audit(tree, find_package(name)) for name in AUDITED} | {"cold_s": _cold(tree)}


def _audit(tree: Tree, package: Package) -> Metrics:
    release = installed(package)
    command = ["api", "audit", package.name, "--installed", "--json"]
    warm = [run_command(tree.root, *command) for _ in range(2)][1]
    discovered = discover_packages(tree.root, [package], FOLDERS)
    usages = discovered.found.usages[package.name]
    result = audit_discovered(discovered, package, release, None)
    around = None if package.name == "torch" else environment()
    seeded = score(release.sources(), around, usages, release.version, seed=0, limit=SEEDED_OF_EACH_KIND)
    kinds = ("import", "call", "attribute")
    agreement = probe(package, [usage.symbol for usage in usages if usage.kind.value in kinds])
    return {
        "version": release.version,
        "usages": result.stats["usages"],
        "unverifiable": result.stats["unverifiable"],
        "breaks_at_what_is_installed": result.num_breaks,
        "warm_s": warm.wall_s,
        "warm_cpu_s": warm.cpu_s,
        "kinds_of_seeded_changes": len(seeded.made),
        "seeded_breaks": seeded.num_breaks,
        "detected": round(seeded.detection, 4),
        "missed": seeded.missed,
        "harmless_changes": seeded.num_controls,
        "false_alarms": round(seeded.false_alarm_rate, 4),
        "agreement_with_import": round(agreement.agreement, 4),
    }


def _cold(tree: Tree) -> dict[str, float | str]:
    """Seconds of an audit with an empty cache, download included; the reason where a release is not to be had."""
    found: dict[str, float | str] = {}
    for name in FETCHED:
        try:
            version = installed(find_package(name)).version
        except HarnessError:
            version = _LAST_KNOWN[name]
        with tempfile.TemporaryDirectory() as cache:
            command = ["api", "audit", f"{name}=={version.partition('+')[0]}", "--json"]
            run = run_command(tree.root, *command, more={"AREAL_API_CACHE": cache})
        found[name] = run.wall_s if run.code in (0, 1) else f"exit {run.code}"
    return found


_LAST_KNOWN = {"torchao": "0.18.0"}
"""Releases of packages that areal uses only where they are installed."""


def review_suite(tree: Tree) -> Metrics:
    """A review of a change of a hundred files of this repository, in a copy."""
    with staged(tree.root) as copy:
        names = [name for name in tree.files if name.startswith("areal/") and name.endswith(".py")][:NUM_REVIEWED]
        for name in names:
            path = copy / name
            path.write_text(path.read_text(encoding="utf-8") + "\n\nMEASURED = 1\n", encoding="utf-8")
        git(copy, *IDENTITY, "commit", "--quiet", "--no-verify", "--all", "--message=a change of many files")
        runs = [run_command(copy, "review", "--base", "HEAD~1", "--json") for _ in range(3)]
    middle = sorted(runs)[1]
    return {"files": len(names), "review_s": middle.wall_s, "review_cpu_s": middle.cpu_s, "exit": middle.code}


def reward_suite(tree: Tree) -> Metrics:
    """A reward from the command to green tests, in a copy."""
    with staged(tree.root) as copy:
        run = run_command(copy, "skill", "run", "add-reward", "--set", "name=measured", "--json")
    return {"command_to_green_tests_s": run.wall_s, "cpu_s": run.cpu_s, "exit": run.code}


def docs_suite(tree: Tree) -> Metrics:
    """Pages, translations and what is wrong with them."""
    statuses, findings = compare_all(tree.root)
    counts = Counter(status.status for status in statuses)
    return {
        "pages": len(statuses),
        **dict(sorted(counts.items())),
        "errors": sum(f.severity == "error" for f in findings),
    }


def run_command(root: Path, *arguments: str, more: Mapping[str, str] | None = None) -> Run:
    """A command of `areal` in a process of its own."""
    command = [sys.executable, "-m", "areal.cli.main", *arguments]
    surroundings = {**os.environ, **(more or {})}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command, cwd=root, capture_output=True, timeout=TIMEOUT_S, check=False, env=surroundings, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(round(time.perf_counter() - start, 3), round(used, 3), done.returncode)
