# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Versions named in container files (`docker/<variant>.Dockerfile`), by a table of patterns."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from areal.harness.core.findings import Finding
from areal.harness.deps.locks import VARIANTS, normal_name

FOLDER = "docker"
_ARGUMENT = re.compile(r"^(ARG\s+)([A-Z0-9_]+)_VERSION(=)([\w.!+-]+)", re.MULTILINE)
_IMAGE = re.compile(r"^(FROM\s+\S*?)(sglang|vllm-openai|vllm)(:v?)([0-9][\w.]*?)(?=[-\s]|$)", re.MULTILINE)
_PINNED = re.compile(r"(?<=[\s\"'])([A-Za-z0-9][\w.-]*)(==)([\w.!+-]+)")


@dataclass(frozen=True)
class ContainerEdit:
    """A container file with the versions it should name."""

    path: Path
    old: str
    new: str

    def diff(self, root: Path) -> str:
        """What changes, as a unified diff."""
        name = self.path.relative_to(root).as_posix()
        lines = difflib.unified_diff(
            self.old.splitlines(keepends=True), self.new.splitlines(keepends=True), f"a/{name}", f"b/{name}"
        )
        return "".join(lines)


def container_edits(root: Path, locks: Mapping[str, Mapping[str, str]]) -> list[ContainerEdit]:
    """For each container file whose versions differ from its variant's lock: the file as it should be."""
    edits = []
    for variant in VARIANTS:
        path = root / FOLDER / f"{variant.name}.Dockerfile"
        if path.is_file():
            old = path.read_text(encoding="utf-8")
            new = _with_versions(old, locks.get(variant.name, {}))
            if new != old:
                edits.append(ContainerEdit(path, old, new))
    return edits


def container_findings(root: Path, locks: Mapping[str, Mapping[str, str]]) -> list[Finding]:
    """A finding for each container file that names other versions than the lock."""
    return [
        Finding(
            code="D105",
            message="names other versions than the lock:\n" + edit.diff(root),
            file=edit.path.relative_to(root).as_posix(),
        )
        for edit in container_edits(root, locks)
    ]


def _with_versions(text: str, pins: Mapping[str, str]) -> str:
    def argument(match: re.Match[str]) -> str:
        version = pins.get(normal_name(match.group(2)), match.group(4))
        return f"{match.group(1)}{match.group(2)}_VERSION{match.group(3)}{version}"

    def image(match: re.Match[str]) -> str:
        version = pins.get(match.group(2).split("-")[0], match.group(4))
        return f"{match.group(1)}{match.group(2)}{match.group(3)}{version}"

    def pinned(match: re.Match[str]) -> str:
        return f"{match.group(1)}=={pins.get(normal_name(match.group(1)), match.group(3))}"

    return _PINNED.sub(pinned, _IMAGE.sub(image, _ARGUMENT.sub(argument, text)))
