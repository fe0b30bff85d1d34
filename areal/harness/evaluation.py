# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`areal harness eval`: numbers about the harness itself, one suite at a time; `benchmarks/harness.json` holds the last of each.

A suite is a function of a tree that returns metrics by name; other parts of the harness add theirs to `SUITES`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from areal.harness.check.drift import check_drift
from areal.harness.check.limits import check_coverage, check_duplicates
from areal.harness.core.errors import UsageProblem
from areal.harness.core.findings import Report
from areal.harness.core.tree import Tree
from areal.harness.generate.output import Generated, read_stamp
from areal.harness.generate.plan import all_generated
from areal.harness.generate.sources import load_config, load_sources
from areal.harness.measurements import audit_suite, docs_suite, review_suite, reward_suite, run_command
from areal.harness.refs.paths import as_path
from areal.harness.refs.scan import facts_of, scan, scan_text, scanned_files
from areal.harness.refs.texts import mentions

NUM_RUNS = 5
Metrics = dict[str, Any]


def _seconds(root: Path, name: str, *arguments: str) -> Metrics:
    """Median times of a command of `areal`, in a process of its own."""
    runs = [run_command(root, *arguments) for _ in range(NUM_RUNS)]
    return {
        f"{name}_s": statistics.median(run.wall_s for run in runs),
        f"{name}_cpu_s": statistics.median(run.cpu_s for run in runs),
    }


def time_suite(tree: Tree) -> Metrics:
    """How long the commands take that run at every commit and every start."""
    return {
        **_seconds(tree.root, "areal_help", "--help"),
        **_seconds(tree.root, "harness_check", "harness", "check"),
        **_seconds(tree.root, "harness_build", "harness", "build", "--dry-run"),
        **_seconds(tree.root, "api_discover_check", "api", "discover", "--check"),
    }


def refs_suite(tree: Tree) -> Metrics:
    """Dead references (M1), and how many of our own path mentions are found once one letter is added to them."""
    config = load_config(tree.root)
    facts = facts_of(tree, config)
    result = scan(tree, config, facts)
    found = total = 0
    for name in (name for name in scanned_files(tree, config) if name.startswith(".agents/")):
        text = tree.text(name)
        for mention in mentions(name, text):
            path = as_path(mention.text, facts) if mention.kind in ("code", "value") else ""
            lines = text.split("\n")
            if not path or "*" in path or "{" in path or path not in lines[mention.line - 1]:
                continue
            stem, _, suffix = path.rstrip("/").rpartition(".")
            broken = f"{stem}q.{suffix}" if stem else f"{path.rstrip('/')}q"
            lines[mention.line - 1] = lines[mention.line - 1].replace(path.rstrip("/"), broken)
            total += 1
            found += any(broken in finding.message for finding in scan_text(name, "\n".join(lines), facts)[0])
    return {
        "texts": result.num_files,
        "references": result.num_refs,
        "dead": len(result.findings),
        "seeded_dead_paths": total,
        "seeded_dead_paths_found": found,
    }


def drift_suite(tree: Tree) -> Metrics:
    """Files that differ from a fresh build (M2), and how many hand edits of copies are recognised as such."""
    sources = load_sources(tree)
    generated = all_generated(sources)
    recognised = sum(_is_recognised(item) for item in generated)
    return {
        "generated_files": len(generated),
        "drift": len(list(check_drift(sources, generated))),
        "seeded_hand_edits": len(generated),
        "seeded_hand_edits_found": recognised,
    }


def _is_recognised(item: Generated) -> bool:
    middle = len(item.text) * 2 // 3
    stamp = read_stamp(item.text[:middle] + "x" + item.text[middle:])
    return stamp is None or not stamp.untouched


def coverage_suite(tree: Tree) -> Metrics:
    """Files without a review domain or scope, packages without an expert (M12), skills in two places (M3)."""
    findings = list(check_coverage(load_sources(tree)))
    files = sum(name.startswith("areal/") for name in tree.files)
    return {
        "package_files": files,
        "without_domain_or_scope": sum(finding.code == "H041" for finding in findings),
        "without_expert_or_dead_globs": sum(finding.code == "H040" for finding in findings),
        "skills_in_two_places": len(list(check_duplicates(tree))),
    }


SUITES: dict[str, Callable[[Tree], Metrics]] = {
    "time": time_suite,
    "refs": refs_suite,
    "drift": drift_suite,
    "coverage": coverage_suite,
    "audit": audit_suite,
    "review": review_suite,
    "reward": reward_suite,
    "docs": docs_suite,
}


def evaluate(root: Path, wanted: Collection[str], report: Report, previous: Path) -> None:
    """Run suites; metrics of the others are kept as they were measured last. The load tells how busy others kept the machine."""
    tree = Tree(root)
    metrics: dict[str, Any] = dict(_previous(previous))
    for name in wanted:
        metrics[name] = {**SUITES[name](tree), "load_average": round(os.getloadavg()[0], 1)}
    report.input = {"suites": list(wanted)}
    report.result = {"metrics": metrics, "environment": environment()}


def environment() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {"python": platform.python_version(), "system": platform.system(), "cpus": os.cpu_count()}


def _previous(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("metrics", {})
    except json.JSONDecodeError as error:
        raise UsageProblem(f"{path}:{error.lineno} is not JSON: {error.msg}; remove it", code="json") from None
