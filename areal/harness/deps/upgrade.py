# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""One upgrade from the request to the audited plan; and, on demand, the files written all at once.

Edit the manifests, check that they agree, lock each variant concerned (widening ranges of our own where only those stand in
the way), audit every focused package whose locked version changed, adapt the container files. The plan fills up as far as
the upgrade gets, so that a summary can be written on every way out.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from areal.harness.apiaudit.audit import AuditResult
from areal.harness.apiaudit.errors import SourcesUnavailable
from areal.harness.apiaudit.library.wheels import Release, fetch, from_path, installed
from areal.harness.apiaudit.packages import PACKAGES, Package
from areal.harness.apiaudit.service import audit_discovered, discover_packages
from areal.harness.core.errors import MissingTool, UsageProblem
from areal.harness.core.findings import Finding
from areal.harness.deps.consistency import check_lock, check_manifests
from areal.harness.deps.containers import ContainerEdit, container_edits
from areal.harness.deps.locking import Conflict, Lock, compile_lock
from areal.harness.deps.locks import normal_name, pins_in
from areal.harness.deps.manifest import Manifest, with_version
from areal.harness.deps.requests import UpgradeRequest

_MAX_WIDENINGS = 4
"""Rounds of widening a range of ours; each names another package, and few have ranges at all."""
FAMILIES = (
    ("megatron-core", "megatron-bridge", "mbridge"),
    ("vllm", "torch", "torchao", "transformers"),
    ("sglang", "torch", "torchao", "transformers"),
)
"""Packages that are released for one another: a change of the first asks for a look at the others."""


@dataclass
class VariantPlan:
    """What happens to one variant."""

    manifest: Manifest
    old_lock: str | None
    new_lock: str | None = None
    conflict: Conflict | None = None
    widened: dict[str, str] = field(default_factory=dict)

    @property
    def changes(self) -> dict[str, tuple[str | None, str | None]]:
        """Every package whose locked version changes."""
        if self.new_lock is None:
            return {}
        old, new = pins_in(self.old_lock or ""), pins_in(self.new_lock)
        names = sorted(old.keys() | new.keys())
        return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


@dataclass
class Audited:
    """The audit of one package: from and to which release, in which variants, and what came out."""

    package: str
    old: str | None
    new: str
    variants: list[str]
    result: AuditResult | None = None
    reason: str = ""


@dataclass
class Plan:
    """An upgrade, as far as it got."""

    requests: list[UpgradeRequest]
    variants: dict[str, VariantPlan] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    audits: list[Audited] = field(default_factory=list)
    containers: list[ContainerEdit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    remedies: list[str] = field(default_factory=list)
    applied: list[str] = field(default_factory=list)

    @property
    def conflicts(self) -> list[Conflict]:
        """Conflicts that people decide."""
        return [variant.conflict for variant in self.variants.values() if variant.conflict is not None]

    @property
    def num_breaks(self) -> int:
        """Call sites of ours, by finding, that the upgrade breaks."""
        return sum(audited.result.num_breaks for audited in self.audits if audited.result is not None)


def make_plan(
    root: Path, plan: Plan, manifests: list[Manifest], *, lock: bool = True, wheels: Mapping[str, Path] | None = None
) -> None:
    """Fill the plan; nothing is written."""
    concerned = {name for request in plan.requests for name in request.variants}
    for manifest in manifests:
        path = root / manifest.variant.lock
        old = path.read_text(encoding="utf-8") if path.is_file() else None
        plan.variants[manifest.variant.name] = VariantPlan(manifest, old)
    for request in plan.requests:
        for name in request.variants:
            _edit(plan.variants[name].manifest, request.package, request.version)
    if lock:
        for name in sorted(concerned):
            _lock(plan, plan.variants[name], _wanted(plan, name))
    plan.findings += check_manifests(manifests)
    if plan.conflicts:
        return
    for variant in plan.variants.values():
        if variant.new_lock is not None:
            plan.findings += check_lock(variant.manifest, variant.new_lock)
    _audit(root, plan, wheels or {})
    locks = {name: pins_in(variant.new_lock or variant.old_lock or "") for name, variant in plan.variants.items()}
    plan.containers = container_edits(root, locks)
    plan.notes += _family_notes(plan)


def _edit(manifest: Manifest, package: str, version: str) -> None:
    for site in manifest.declaring(package):
        edit = with_version(site, version)
        if edit.new != site.text:
            manifest.apply(edit)


def _wanted(plan: Plan, variant: str) -> dict[str, str]:
    return {request.package: request.version for request in plan.requests if variant in request.variants}


def _lock(plan: Plan, variant: VariantPlan, wanted: dict[str, str]) -> None:
    name = variant.manifest.variant.name
    for _ in range(_MAX_WIDENINGS):
        try:
            outcome = compile_lock(variant.manifest.text(), name, variant.old_lock, wanted)
        except MissingTool as error:
            plan.missing.append(f"lock of {name}: {error.message}")
            plan.remedies += [error.next_action] if error.next_action else []
            return
        if isinstance(outcome, Lock):
            variant.new_lock = outcome.text
            return
        fresh = {package: version for package, version in outcome.widen.items() if package not in variant.widened}
        if outcome.kind != "auto" or not fresh:
            variant.conflict = outcome
            return
        for package, version in fresh.items():
            variant.widened[package] = version
            _edit(variant.manifest, package, version)
            plan.notes.append(f"{name}: our range of {package} excluded {version}, which an upstream needs; widened")
    plan.notes.append(f"{name}: gave up after {_MAX_WIDENINGS} rounds of widening")


def _changed_releases(plan: Plan) -> list[Audited]:
    """Focused packages whose version changes: by the locks, or by the request where there is no lock."""
    found: dict[tuple[str, str | None, str], Audited] = {}
    for name, variant in plan.variants.items():
        changes = dict(variant.changes)
        if variant.new_lock is None:
            old = pins_in(variant.old_lock or "")
            changes = {package: (old.get(package), version) for package, version in _wanted(plan, name).items()}
        for package, (old_version, new_version) in changes.items():
            if package in PACKAGES and new_version is not None and old_version != new_version:
                key = (package, old_version, new_version)
                found.setdefault(key, Audited(package, old_version, new_version, [])).variants.append(name)
    return sorted(found.values(), key=lambda audited: (audited.package, audited.new))


def _audit(root: Path, plan: Plan, wheels: Mapping[str, Path]) -> None:
    plan.audits = _changed_releases(plan)
    if not plan.audits:
        return
    discovered = discover_packages(root, [PACKAGES[name] for name in {each.package for each in plan.audits}])
    for audited in plan.audits:
        package = PACKAGES[audited.package]
        if not discovered.found.usages[package.name]:
            audited.result = AuditResult(stats={"usages": 0, "checked": 0, "unverifiable": 0})
            audited.reason = "areal does not use it yet"
            continue
        try:
            target = _release(package, audited.new, wheels)
            base = None if audited.old is None else _release(package, audited.old, wheels)
        except SourcesUnavailable as error:
            audited.reason = error.message
            plan.missing.append(f"audit of {package.name}: {error.message}")
            plan.remedies += [error.next_action] if error.next_action else []
            continue
        audited.result = audit_discovered(discovered, package, target, base)


def _release(package: Package, version: str, wheels: Mapping[str, Path]) -> Release:
    given = wheels.get(f"{package.name}=={version}") or wheels.get(package.name)
    if given is not None:
        return from_path(given, version)
    try:
        here = installed(package)
    except SourcesUnavailable:
        return fetch(package, version)
    return here if here.version.partition("+")[0] == version.partition("+")[0] else fetch(package, version)


def wheel_arguments(paths: list[Path]) -> dict[str, Path]:
    """Wheels given on the command line, by `name==version` and by name (for a folder or a lone wheel)."""
    found: dict[str, Path] = {}
    for path in paths:
        name, _, rest = path.name.partition("-")
        found[normal_name(name)] = path
        if rest:
            found[f"{normal_name(name)}=={rest.split('-')[0].removesuffix('.tar.gz')}"] = path
    return found


def _family_notes(plan: Plan) -> list[str]:
    notes = []
    for name, variant in plan.variants.items():
        changed = set(variant.changes) or set(_wanted(plan, name))
        for leader, *others in FAMILIES:
            held = pins_in(variant.new_lock or variant.old_lock or "")
            stayed = [other for other in others if other not in changed and other in held]
            if leader in changed and stayed:
                notes.append(f"{name}: {leader} changed and {', '.join(stayed)} did not; they are released together")
    return list(dict.fromkeys(notes))


def apply_plan(root: Path, plan: Plan) -> None:
    """Write manifests, locks and container files: all of them or none."""
    if plan.conflicts:
        return
    files: dict[Path, str] = {}
    for variant in plan.variants.values():
        manifest = variant.manifest
        if manifest.text() != manifest.original:
            files[root / manifest.variant.manifest] = manifest.text()
        if variant.new_lock is not None and variant.new_lock != variant.old_lock:
            files[root / manifest.variant.lock] = variant.new_lock
    files |= {edit.path: edit.new for edit in plan.containers}
    _refuse_uncommitted(root, list(files))
    written: list[tuple[Path, Path]] = []
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(path.name + ".new")
        scratch.write_text(text, encoding="utf-8")
        written.append((scratch, path))
    for scratch, path in written:
        scratch.replace(path)
    plan.applied = [path.relative_to(root).as_posix() for path in files]


def _refuse_uncommitted(root: Path, paths: list[Path]) -> None:
    """Files with changes that are not committed are not overwritten; without git there is nothing to ask."""
    names = [path.relative_to(root).as_posix() for path in paths if path.is_file()]
    if not names or not (root / ".git").exists():
        return
    try:
        asked = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no", "--", *names],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return
    changed = [line[3:] for line in asked.stdout.splitlines()]
    if changed:
        message = f"uncommitted changes in {', '.join(changed)}: commit or stash them first; nothing was written"
        raise UsageProblem(message, code="D020", files=changed)


def as_data(plan: Plan) -> dict[str, Any]:
    """The plan for the JSON envelope."""
    return {
        "requested": [str(request) for request in plan.requests],
        "variants": {name: _variant_data(variant) for name, variant in plan.variants.items()},
        "audits": [
            {
                "package": audited.package,
                "from": audited.old,
                "to": audited.new,
                "variants": audited.variants,
                "stats": audited.result.stats if audited.result else None,
                "breaks": audited.result.num_breaks if audited.result else None,
                "reason": audited.reason,
            }
            for audited in plan.audits
        ],
        "containers": [edit.path.name for edit in plan.containers],
        "notes": plan.notes,
        "missing": plan.missing,
        "applied": plan.applied,
    }


def _variant_data(variant: VariantPlan) -> dict[str, Any]:
    data: dict[str, Any] = {
        "manifest_diff": variant.manifest.diff(),
        "changes": {name: {"from": old, "to": new} for name, (old, new) in variant.changes.items()},
        "widened": variant.widened,
        "locked": variant.new_lock is not None,
    }
    if variant.conflict is not None:
        data["conflict"] = {
            "kind": variant.conflict.kind,
            "text": variant.conflict.text,
            "choices": list(variant.conflict.choices),
        }
    return data
