# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Two releases of a tiny library and a client of it, audited as the real ones are."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from areal.harness.apiaudit.audit import AuditResult, audit
from areal.harness.apiaudit.checks.usages import Checker
from areal.harness.apiaudit.library.resolver import Library
from areal.harness.apiaudit.library.sources import Sources
from areal.harness.apiaudit.ours.discovery import ServerFiles, discover
from areal.harness.apiaudit.packages import Package
from areal.harness.apiaudit.usage import Usage

FAKELIB = Package(name="fakelib", imports=("fakelib",))


def write_files(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files under a folder; text is dedented."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


def library(folder: Path, files: Mapping[str, str]) -> Library:
    """A library with these files under `fakelib/`; `__init__.py` is there unless the folder is to be a namespace."""
    return Library(Sources(write_files(folder, {f"fakelib/{name}": text for name, text in files.items()})))


def usages_in(
    folder: Path, client: str, name: str = "areal/client.py", server: ServerFiles | None = None
) -> list[Usage]:
    """The usages of fakelib in a client."""
    write_files(folder, {name: client})
    servers = {} if server is None else {"fakelib": server}
    return discover(folder, [FAKELIB], ("areal",), servers).usages["fakelib"]


@dataclass
class Case:
    """Runs audits under one temporary folder."""

    folder: Path
    versions: tuple[str, str] = ("1.0", "2.0")

    def audit(
        self,
        v1: Mapping[str, str] | str,
        v2: Mapping[str, str] | str,
        client: str,
        *,
        name: str = "areal/client.py",
        accepts: dict[str, list[str]] | None = None,
        nested: dict[str, str] | None = None,
    ) -> AuditResult:
        """Audit the client at v2, coming from v1; a string is the text of `fakelib/__init__.py`."""
        checkers = []
        for version, files in (("v2", v2), ("v1", v1)):
            given = {"__init__.py": files} if isinstance(files, str) else files
            number = self.versions[1] if version == "v2" else self.versions[0]
            checkers.append(Checker(library(self.folder / version, given), number, accepts, nested))
        return audit(usages_in(self.folder, client, name), *checkers)


def codes(result: AuditResult) -> list[tuple[str, str]]:
    """Status and code of each finding, sorted."""
    return sorted((finding.extra["status"], finding.code) for finding in result.findings)
