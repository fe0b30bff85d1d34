# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Rows about Python and packages: what areal requires, and what its contracts under `checklists/` were audited against."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from areal.harness.core.documents import read_yaml
from areal.harness.deps.locks import locked_versions
from areal.harness.doctor.rows import Row, State

PYTHON = ">=3.11"
INSTALL = "python -m pip install"


def installed(name: str) -> str | None:
    """The installed version of a distribution."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def python_rows() -> Iterator[Row]:
    """The interpreter and its environment."""
    version = ".".join(map(str, sys.version_info[:3]))
    fits = Requirement(f"python{PYTHON}").specifier.contains(version)
    yield Row(
        "python", "version", State.OK if fits else State.BAD, f"{version} (needs {PYTHON})", "python3.12 -m venv .venv"
    )
    is_own = sys.prefix != sys.base_prefix
    found = "a virtual environment" if is_own else "the system's own Python"
    yield Row("python", "environment", State.OK if is_own else State.WARN, found, "make install")


def requirement_rows() -> Iterator[Row]:
    """What areal requires, and the extras of which a part is installed."""
    try:
        declared = metadata.requires("areal") or []
    except metadata.PackageNotFoundError:
        yield Row("packages", "areal", State.BAD, "not installed", f"{INSTALL} -e .")
        return
    for text in declared:
        requirement = Requirement(text)
        is_core = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        version = installed(requirement.name)
        if not is_core and (version is None or requirement.specifier.contains(version, prereleases=True)):
            continue
        yield _requirement_row(requirement, version, is_core)


def _requirement_row(requirement: Requirement, version: str | None, is_core: bool) -> Row:
    wanted = f"{requirement.name}{requirement.specifier}"
    mend = f"{INSTALL} '{wanted}'"
    if version is None:
        return Row("packages", requirement.name, State.BAD, f"not installed (needs {requirement.specifier})", mend)
    if requirement.specifier.contains(version, prereleases=True):
        return Row("packages", requirement.name, State.OK, version)
    state = State.BAD if is_core else State.WARN
    return Row("packages", requirement.name, state, f"{version} (needs {requirement.specifier})", mend)


def contract_rows(root: Path) -> Iterator[Row]:
    """Installed packages that have a contract, against the versions of our locks, at which contracts are kept."""
    for path in sorted((root / "checklists").glob("*.yaml")):
        package = str(read_yaml(root, path.relative_to(root)).data["package"])
        version = installed(package)
        pins = sorted(set(locked_versions(root, package).values()))
        if version is None or not pins:
            continue
        public = Version(version).public  # `2.13.0+cpu` is 2.13.0 for another device
        is_known = any(Version(pin).public == public for pin in pins)
        found = version if is_known else f"{version}, the locks have {', '.join(pins)}"
        mend = f"areal api audit {package}=={public}"
        yield Row("contracts", package, State.OK if is_known else State.WARN, found, mend)
