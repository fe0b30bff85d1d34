# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the two manifests, their locks and the container files agree with one another.

`D100` the manifests declare a package differently, `D101` a lock breaks its manifest, `D102` a lock without hashes or with
addresses, `D103` other differences of the project tables, `D104` a lock is missing, `D105` a container file names another
version than the lock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from areal.harness.core.findings import Finding, Fix
from areal.harness.deps.containers import container_findings
from areal.harness.deps.locks import Variant, normal_name, pins_in
from areal.harness.deps.manifest import Manifest

DIVERGENT = frozenset({"torch", "torchao", "vllm", "sglang"})
"""Packages that the variants may pin differently: each server brings its own torch."""
_ADDRESS = re.compile(r"^\s*(--(?:index-url|extra-index-url|find-links)|-[if])\b|https?://", re.MULTILINE)
_OVERRIDES = "tool/uv/override-dependencies"
_SAME_FIELDS = ("name", "version", "requires-python", "scripts", "license")


def check_manifests(manifests: Iterable[Manifest]) -> list[Finding]:
    """Differences between the manifests that no variant needs."""
    first, second = manifests
    findings = []
    for name in sorted({site.name for site in (*first.sites, *second.sites)} - DIVERGENT):
        sides = [sorted(_declared(manifest, name)) for manifest in (first, second)]
        if sides[0] != sides[1]:
            shown = [", ".join(f"{table}: {text}" for table, text in side) or "not declared" for side in sides]
            message = (
                f"{name} differs: {first.variant.manifest} has {shown[0]}; {second.variant.manifest} has {shown[1]}"
            )
            findings.append(Finding(code="D100", message=message, file=second.variant.manifest))
    for field in _SAME_FIELDS:
        if first.project.get(field) != second.project.get(field):
            message = f"project.{field} differs: {first.project.get(field)!r} and {second.project.get(field)!r}"
            findings.append(Finding(code="D103", message=message, file=second.variant.manifest))
    return findings


def _declared(manifest: Manifest, name: str) -> list[tuple[str, str]]:
    return [(site.table, site.text.replace(" ", "")) for site in manifest.declaring(name)]


def check_lock(manifest: Manifest, text: str | None) -> list[Finding]:
    """Whether a lock holds what its manifest asks for."""
    variant = manifest.variant
    if text is None:
        fix = Fix(kind="run", command="areal deps lock")
        return [Finding(code="D104", message=f"{variant.lock} is missing", file=variant.lock, fix=fix)]
    findings = []
    pins = pins_in(text)
    overridden = {site.name for site in manifest.sites if site.table == _OVERRIDES}
    for site in manifest.sites:
        # uv puts an override in the place of every other requirement of the package.
        if site.table != _OVERRIDES and (site.name in overridden or not _is_locked(site.table, variant)):
            continue
        held = pins.get(site.name)
        if held is None and site.requirement.marker is None:
            findings.append(Finding(code="D101", message=f"{variant.lock} lacks {site.text}", file=variant.lock))
        elif held is not None and not site.requirement.specifier.contains(held, prereleases=True):
            message = f"{variant.lock} holds {site.name}=={held}, {variant.manifest} wants {site.text}"
            findings.append(Finding(code="D101", message=message, file=variant.lock))
    if "--hash=" not in text:
        findings.append(Finding(code="D102", message=f"{variant.lock} has no hashes", file=variant.lock))
    for match in _ADDRESS.finditer(text):
        line = text[: match.start()].count("\n") + 1
        message = f"{variant.lock} names an address of a package index"
        findings.append(Finding(code="D102", message=message, file=variant.lock, line=line))
    return findings


def _is_locked(table: str, variant: Variant) -> bool:
    """Locks hold the core and the extra of the variant's server."""
    return table in ("project/dependencies", f"project/optional-dependencies/{variant.name}")


def check_all(root: Path, manifests: list[Manifest]) -> list[Finding]:
    """Every check on what is on disk."""
    findings = check_manifests(manifests)
    locks: dict[str, Mapping[str, str]] = {}
    for manifest in manifests:
        path = root / manifest.variant.lock
        text = path.read_text(encoding="utf-8") if path.is_file() else None
        findings += check_lock(manifest, text)
        locks[manifest.variant.name] = pins_in(text or "")
    return findings + container_findings(root, locks)


def unknown_choices(manifests: Iterable[Manifest]) -> list[str]:
    """All packages that some manifest declares."""
    return sorted({normal_name(site.name) for manifest in manifests for site in manifest.sites})
