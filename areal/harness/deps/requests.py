# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What an upgrade asks for: `PKG==VER` for both variants or `PKG==VER@variant` for one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from areal.api.config.fields import suggestion
from areal.harness.core.errors import UsageProblem
from areal.harness.deps.consistency import DIVERGENT, unknown_choices
from areal.harness.deps.locks import VARIANTS, normal_name
from areal.harness.deps.manifest import Manifest

_SPEC = re.compile(r"([A-Za-z0-9][\w.-]*)==([^@\s]+)(?:@([\w-]+))?")


@dataclass(frozen=True)
class UpgradeRequest:
    """A version of a package that some variants are to have."""

    package: str
    version: str
    variants: tuple[str, ...]

    def __str__(self) -> str:
        at = "" if len(self.variants) == len(VARIANTS) else "@" + ",".join(self.variants)
        return f"{self.package}=={self.version}{at}"


def parse_requests(specs: Iterable[str], manifests: list[Manifest]) -> list[UpgradeRequest]:
    """The requests of a command line, with the variants they concern."""
    found = [_parse(spec, manifests) for spec in specs]
    seen: dict[tuple[str, str], str] = {}
    for request in found:
        for variant in request.variants:
            earlier = seen.setdefault((request.package, variant), request.version)
            if earlier != request.version:
                message = f"{request.package} is asked for as {earlier} and as {request.version} in variant {variant}"
                raise UsageProblem(message, code="D012")
    return found


def _parse(spec: str, manifests: list[Manifest]) -> UpgradeRequest:
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise UsageProblem(f"expected PACKAGE==VERSION or PACKAGE==VERSION@VARIANT, got {spec!r}", code="bad_spec")
    package, version, variant = normal_name(match.group(1)), match.group(2), match.group(3)
    try:
        Version(version)
    except InvalidVersion:
        raise UsageProblem(f"{spec}: {version!r} is no version", code="bad_spec") from None
    names = [each.name for each in VARIANTS]
    if variant is not None and variant not in names:
        raise UsageProblem(
            f"{spec}: no variant {variant!r}; variants: {', '.join(names)}", code="bad_spec", choices=names
        )
    declaring = [manifest.variant.name for manifest in manifests if manifest.declaring(package)]
    if not declaring:
        choices = unknown_choices(manifests)
        hint = suggestion(package, choices) or f" Declared are: {', '.join(choices)}."
        raise UsageProblem(f"no manifest declares {package!r}.{hint}", code="D001", choices=choices)
    if variant is not None:
        if variant not in declaring:
            raise UsageProblem(f"{package} is not declared in variant {variant}", code="D001", choices=declaring)
        return UpgradeRequest(package, version, (variant,))
    if package in names:
        return UpgradeRequest(package, version, (package,))  # a server belongs to the variant of its name
    if len(declaring) > 1 and package in DIVERGENT and _differs(package, manifests):
        shown = " or ".join(f"{package}=={version}@{name}" for name in declaring)
        message = f"{package} differs between variants; say {shown}"
        raise UsageProblem(message, code="D010", choices=[f"{package}=={version}@{name}" for name in declaring])
    return UpgradeRequest(package, version, tuple(declaring))


def _differs(package: str, manifests: list[Manifest]) -> bool:
    declared = {tuple(sorted(site.text for site in manifest.declaring(package))) for manifest in manifests}
    return len(declared) > 1
