# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The audit as one call for commands: contracts kept up to date, releases found, usages judged.

Called by `areal api` and `areal deps`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from areal.harness.apiaudit.audit import AuditResult, audit
from areal.harness.apiaudit.checks.usages import Checker
from areal.harness.apiaudit.contract import (
    Contract,
    contract_path,
    digest_of,
    generated_block,
    read_contract,
    render_contract,
)
from areal.harness.apiaudit.errors import SourcesUnavailable
from areal.harness.apiaudit.library.resolver import Library
from areal.harness.apiaudit.library.wheels import Release, environment
from areal.harness.apiaudit.markdown_view import render_view
from areal.harness.apiaudit.ours.discovery import SHIPPED, Discovery, discover
from areal.harness.apiaudit.packages import Package
from areal.harness.core.errors import UsageProblem
from areal.harness.core.findings import Finding, Fix
from areal.harness.deps.locks import locked_versions

_SPEC = re.compile(r"([A-Za-z0-9][\w.-]*)==([\w.!+-]+)")


@dataclass(frozen=True)
class Discovered:
    """Contracts and usages of some packages."""

    contracts: dict[str, Contract]
    found: Discovery


def repository(start: Path | None = None) -> Path:
    """The checkout around a folder: the nearest one with `pyproject.toml` and the package `areal`."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "areal").is_dir():
            return folder
    raise UsageProblem(f"{here} is not inside a checkout of areal", code="no_checkout")


def parse_spec(text: str) -> tuple[str, str]:
    """`PKG==VER` as name and version."""
    match = _SPEC.fullmatch(text)
    if match is None:
        raise UsageProblem(f"expected PACKAGE==VERSION, got {text!r}", code="bad_spec")
    return match.group(1), match.group(2)


def discover_packages(root: Path, packages: Iterable[Package], folders: Iterable[str] = SHIPPED) -> Discovered:
    """Read the contracts of the packages and scan our sources for their usages."""
    wanted = list(packages)
    contracts = {package.name: read_contract(root, package) for package in wanted}
    servers = {name: contract.server_files() for name, contract in contracts.items()}
    return Discovered(contracts, discover(root, wanted, folders, servers))


def contract_files(root: Path, discovered: Discovered) -> dict[Path, str]:
    """Path and text of every contract and view as they should be."""
    files = {}
    for name, contract in discovered.contracts.items():
        usages = discovered.found.usages[name]
        path = contract_path(root, contract.package)
        files[path] = render_contract(contract, usages, locked_versions(root, name))
        files[path.with_suffix(".md")] = render_view(contract, usages)
    return files


def drift(root: Path, discovered: Discovered) -> list[Finding]:
    """A finding for each contract or view that differs from what our sources say; new and gone symbols are named."""
    findings = []
    for path, text in contract_files(root, discovered).items():
        name = path.relative_to(root).as_posix()
        now = path.read_text(encoding="utf-8") if path.is_file() else ""
        if now == text:
            continue
        package = path.stem
        message = f"{name} differs from our sources{_difference(discovered, package)}"
        fix = Fix(kind="run", command=f"areal api discover {package}")
        findings.append(Finding(code="A001", message=message, file=name, fix=fix))
    return findings


def _difference(discovered: Discovered, package: str) -> str:
    before = {entry["symbol"] for entry in discovered.contracts[package].symbols}
    block = generated_block(discovered.found.usages[package])
    after = {entry["symbol"] for entry in block}
    told = []
    if after - before:
        told.append(f"new: {', '.join(sorted(after - before)[:3])}")
    if before - after:
        told.append(f"gone: {', '.join(sorted(before - after)[:3])}")
    if not told and digest_of(block) != discovered.contracts[package].digest:
        told.append("other sites or arguments")
    return f" ({'; '.join(told)})" if told else ""


def audit_release(
    root: Path, package: Package, target: Release, base: Release | None, *, with_tests: bool = False
) -> AuditResult:
    """Judge our usages of a package at a release, and at the one we come from."""
    folders = (*SHIPPED, "tests") if with_tests else SHIPPED
    discovered = discover_packages(root, [package], folders)
    return audit_discovered(discovered, package, target, base)


def _require_package(package: Package, release: Release) -> None:
    sources = release.sources()
    if not any(sources.has_module(name) for name in package.imports):
        message = (
            f"{release.package}=={release.version} holds no module {' or '.join(package.imports)}: nothing to audit"
        )
        raise SourcesUnavailable(message, code="no_package")


def audit_discovered(discovered: Discovered, package: Package, target: Release, base: Release | None) -> AuditResult:
    """The same for usages that are known already."""
    contract = discovered.contracts[package.name]
    _require_package(package, target)
    around = environment()
    checkers = [
        Checker(Library(release.sources(), around), release.version, contract.curated.get("accepts"), contract.nested())
        for release in (target, base)
        if release is not None
    ]
    previous = checkers[1] if len(checkers) > 1 else None
    return audit(discovered.found.usages[package.name], checkers[0], previous, contract.curated.get("ignore", ()))
