# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Measures the auditor's own error: its verdicts on the symbols we use against a real import in some environment.

The import happens in a process of its own with the given interpreter; this process still imports nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from areal.harness.apiaudit.errors import SourcesUnavailable
from areal.harness.apiaudit.library.resolver import Library
from areal.harness.apiaudit.library.signatures import Signature, signatures_of
from areal.harness.apiaudit.library.sources import Sources
from areal.harness.apiaudit.library.symbols import What
from areal.harness.apiaudit.packages import Package

PROBE_TIMEOUT_S = 300
"""Importing torch, transformers and all model files that we name takes under a minute on two cores."""
_SCRIPT = r"""
import importlib, inspect, json, operator, os, sys
told = {}
for chain in json.load(sys.stdin):
    parts = chain.split(".")
    found, used = None, 0
    try:
        for used_now in range(1, len(parts) + 1):
            try:
                found, used = importlib.import_module(".".join(parts[:used_now])), used_now
            except ModuleNotFoundError as error:
                if error.name is None or not chain.startswith(error.name):
                    raise
                break
        if found is None:
            told[chain] = {"exists": False}
            continue
        for part in parts[used:]:
            found = operator.attrgetter(part)(found)
    except AttributeError:
        told[chain] = {"exists": False}
    except Exception as error:
        told[chain] = {"error": f"{type(error).__name__}: {error}"[:200]}
    else:
        told[chain] = {"exists": True}
        try:
            told[chain]["parameters"] = list(inspect.signature(found).parameters)
        except (TypeError, ValueError):
            pass
paths = [entry for entry in sys.path if entry.endswith("site-packages")]
sys.stdout.write("\n" + json.dumps({"told": told, "site": paths[0] if paths else ""}))
"""


@dataclass
class ProbeResult:
    """Counts of agreement, and every disagreement."""

    agreed: int = 0
    disagreed: list[str] = field(default_factory=list)
    undecided: int = 0
    errors: list[str] = field(default_factory=list)
    same_signatures: int = 0
    other_signatures: list[str] = field(default_factory=list)

    @property
    def agreement(self) -> float:
        """Share of the decided symbols on which both agree."""
        decided = self.agreed + len(self.disagreed)
        return self.agreed / decided if decided else 1.0


def probe(package: Package, chains: Iterable[str], python: str = sys.executable) -> ProbeResult:
    """Compare verdict and reality for chains without calls in them."""
    asked = sorted({chain for chain in chains if "()" not in chain})
    told, site = _import_all(asked, python)
    tops = [prefix.split(".")[0] for prefix in package.imports]
    library = Library(Sources(Path(site), tops))
    result = ProbeResult()
    for chain in asked:
        real = told[chain]
        symbol = library.resolve(chain)
        if "error" in real:
            result.errors.append(f"{chain}: {real['error']}")
        elif symbol.what is not What.MISSING and not symbol.is_found:
            result.undecided += 1
        elif symbol.is_found == real["exists"]:
            result.agreed += 1
            _compare_signature(library, chain, real.get("parameters"), result)
        else:
            result.disagreed.append(f"{chain}: sources say {symbol.what.value}, import says {real['exists']}")
    return result


def _compare_signature(library: Library, chain: str, real: object, result: ProbeResult) -> None:
    symbol = library.resolve(chain)
    if not isinstance(real, list) or not symbol.is_found:
        return
    static = [s for s in signatures_of(library, symbol) if isinstance(s, Signature)]
    names = [[parameter.name for parameter in signature.parameters] for signature in static]
    if real in names or real in [each[1:] for each in names] or real[1:] in names:
        result.same_signatures += 1
    elif names:
        result.other_signatures.append(f"{chain}: sources {names[0]}, import {real}")


def _import_all(chains: list[str], python: str) -> tuple[dict[str, dict[str, object]], str]:
    command = [python, "-c", _SCRIPT]
    try:
        done = subprocess.run(
            command, input=json.dumps(chains), capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except (FileNotFoundError, PermissionError) as error:
        raise SourcesUnavailable(f"cannot run {python}: {error}", code="no_python") from None
    except subprocess.TimeoutExpired:
        raise SourcesUnavailable(f"importing took over {PROBE_TIMEOUT_S} s", code="timeout") from None
    if done.returncode:
        raise SourcesUnavailable(f"{python} failed: {done.stderr.strip()[-300:]}", code="probe_failed")
    answer = json.loads(done.stdout.rsplit("\n", 1)[1])
    return answer["told"], answer["site"]
