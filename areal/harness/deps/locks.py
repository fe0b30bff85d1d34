# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The two variants of areal's dependencies, and the versions that their lock files hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

LOCK_FOLDER = "locks"
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([\w.!+-]+)", re.MULTILINE)


@dataclass(frozen=True)
class Variant:
    """One way to install areal: the server it runs with, the manifest that declares it, and its lock."""

    name: str
    manifest: str

    @property
    def lock(self) -> str:
        """Path of the lock file."""
        return f"{LOCK_FOLDER}/{self.name}.txt"


VARIANTS = (Variant("sglang", "pyproject.toml"), Variant("vllm", "pyproject.vllm.toml"))


def normal_name(name: str) -> str:
    """A package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins_in(text: str) -> dict[str, str]:
    """Every `name==version` of a lock file."""
    return {normal_name(name): version for name, version in _PIN.findall(text)}


def read_lock(root: Path, variant: Variant) -> dict[str, str]:
    """The locked versions of a variant; empty when it has no lock."""
    path = root / variant.lock
    return pins_in(path.read_text(encoding="utf-8")) if path.is_file() else {}


def locked_versions(root: Path, package: str) -> dict[str, str]:
    """The version of a package in each variant's lock that has it."""
    found = {variant.name: read_lock(root, variant).get(normal_name(package)) for variant in VARIANTS}
    return {name: version for name, version in found.items() if version is not None}
