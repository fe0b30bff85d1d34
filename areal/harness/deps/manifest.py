# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Reads and edits the manifests: every place that declares a package is found, none is listed by hand.

Comments, order and markers stay as they are: only the specifier inside the quotes changes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import Specifier, SpecifierSet
from packaging.version import Version
from tomlkit.exceptions import ParseError

from areal.harness.core.errors import UsageProblem
from areal.harness.deps.locks import VARIANTS, Variant, normal_name


@dataclass(frozen=True)
class Site:
    """One requirement in a manifest: the list it stands in, its place there, and its text."""

    manifest: str
    table: str
    index: int
    text: str

    @property
    def requirement(self) -> Requirement:
        """The requirement, parsed."""
        return Requirement(self.text)

    @property
    def name(self) -> str:
        """The package it is about."""
        return normal_name(self.requirement.name)


@dataclass(frozen=True)
class Edit:
    """A requirement that changes; `old == new` where the declared range already holds the version."""

    site: Site
    new: str


class Manifest:
    """One manifest as a document."""

    def __init__(self, variant: Variant, text: str) -> None:
        self.variant = variant
        self.original = text
        try:
            self._document = tomlkit.parse(text)
        except ParseError as error:
            name = variant.manifest
            raise UsageProblem(f"{name} is not valid TOML: {error}", code="toml", file=name) from None
        self.sites = [site for site in self._find_sites() if site is not None]

    @property
    def project(self) -> dict[str, Any]:
        """The `[project]` table as plain data."""
        return dict(self._document.unwrap().get("project", {}))

    def text(self) -> str:
        """The document as it now reads."""
        return tomlkit.dumps(self._document)

    def diff(self) -> str:
        """What changed, as a unified diff."""
        name = self.variant.manifest
        lines = difflib.unified_diff(
            self.original.splitlines(keepends=True), self.text().splitlines(keepends=True), f"a/{name}", f"b/{name}"
        )
        return "".join(lines)

    def declaring(self, package: str) -> list[Site]:
        """The places that declare a package."""
        return [site for site in self.sites if site.name == normal_name(package)]

    def apply(self, edit: Edit) -> None:
        """Write one edit into the document."""
        node: Any = self._document
        for key in edit.site.table.split("/"):
            node = node[int(key)] if key.isdigit() else node[key]
        node[edit.site.index] = edit.new
        self.sites = [site for site in self._find_sites() if site is not None]

    def _find_sites(self) -> Iterator[Site | None]:
        project = self._document.get("project", {})
        yield from self._in_list("project/dependencies", project.get("dependencies"))
        for extra in project.get("optional-dependencies", {}):
            yield from self._in_list(f"project/optional-dependencies/{extra}", project["optional-dependencies"][extra])
        groups = self._document.get("dependency-groups", {})
        for group in groups:
            yield from self._in_list(f"dependency-groups/{group}", groups[group])
        uv = self._document.get("tool", {}).get("uv", {})
        for name in ("override-dependencies", "constraint-dependencies", "build-constraint-dependencies"):
            yield from self._in_list(f"tool/uv/{name}", uv.get(name))
        for index, entry in enumerate(uv.get("dependency-metadata", [])):
            yield from self._in_list(f"tool/uv/dependency-metadata/{index}/requires-dist", entry.get("requires-dist"))

    def _in_list(self, table: str, requirements: Any) -> Iterator[Site | None]:
        for index, text in enumerate(requirements or []):
            if isinstance(text, str):
                try:
                    Requirement(text)
                except InvalidRequirement as error:
                    name = self.variant.manifest
                    raise UsageProblem(f"{name}: {text!r} is no requirement: {error}", code="toml", file=name) from None
                yield Site(self.variant.manifest, table, index, str(text))


def read_manifests(root: Path) -> list[Manifest]:
    """Both manifests; `UsageProblem` when one is missing."""
    found = []
    for variant in VARIANTS:
        path = root / variant.manifest
        if not path.is_file():
            raise UsageProblem(f"{variant.manifest} does not exist", code="missing_file", file=variant.manifest)
        found.append(Manifest(variant, path.read_text(encoding="utf-8")))
    return found


def with_version(site: Site, version: str) -> Edit:
    """The requirement so that it admits the version: an exact pin moves, a range only where it must."""
    requirement = site.requirement
    if requirement.url:
        raise UsageProblem(
            f"{site.manifest}: {requirement.name} is pinned to an address, not to a version; edit it by hand",
            code="D011",
            file=site.manifest,
        )
    specifiers = list(requirement.specifier)
    if any(each.operator in ("==", "===") for each in specifiers):
        wanted = SpecifierSet(f"=={version}")
    elif requirement.specifier.contains(version, prereleases=True):
        return Edit(site, site.text)
    else:
        wanted = SpecifierSet(",".join(_moved(each, version) for each in specifiers))
    return Edit(site, _replaced(site.text, requirement, wanted))


def _moved(specifier: Specifier, version: str) -> str:
    """A bound that excludes the version, moved just past it at the precision it is written with."""
    if specifier.contains(version, prereleases=True):
        return str(specifier)
    target = Version(version)
    if specifier.operator in ("<", "<="):
        precision = len(Version(specifier.version).release)
        release = list(target.release[:precision]) + [0] * (precision - len(target.release))
        release[-1] += 1
        return "<" + ".".join(map(str, release))
    operator = "~=" if specifier.operator == "~=" else ">="
    return f"{operator}{version}"


def _replaced(text: str, requirement: Requirement, specifiers: SpecifierSet) -> str:
    """The text with other specifiers; name, extras and marker as they were written, upper bounds last."""
    marker = text.partition(";")[1] + text.partition(";")[2]
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    ordered = sorted(map(str, specifiers), key=lambda each: (each.startswith("<"), each))
    return f"{requirement.name}{extras}{','.join(ordered)}{marker}"
