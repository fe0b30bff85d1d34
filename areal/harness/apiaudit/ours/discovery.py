# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Finds all usages of the focused packages in the repository; one parse a file serves every package.

Called by the contracts and by the audit. Reads sources only; a file that does not parse is a `UsageProblem`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from areal.harness.apiaudit.ours.scanner import FileScan
from areal.harness.apiaudit.ours.server_requests import config_flags, server_flags, server_requests
from areal.harness.apiaudit.ours.usages_of import usages_of
from areal.harness.apiaudit.packages import PACKAGES, Package
from areal.harness.apiaudit.usage import Usage
from areal.harness.core.errors import UsageProblem

SHIPPED = ("areal", "examples", "benchmarks")
"""What contracts record; `tests` are audited on request only, so that a new test does not change a contract."""


@dataclass(frozen=True)
class ServerFiles:
    """What a contract says about a server: more client files than those with its name, and the dataclass of its flags."""

    clients: tuple[str, ...] = ()
    flags_class: str = ""  # dotted path of ours
    ignored_flags: frozenset[str] = frozenset()


@dataclass
class Discovery:
    """Usages by package, and how much was read."""

    usages: dict[str, list[Usage]] = field(default_factory=dict)
    num_files: int = 0


def discover(
    root: Path,
    packages: Iterable[Package],
    folders: Iterable[str] = SHIPPED,
    servers: Mapping[str, ServerFiles] | None = None,
) -> Discovery:
    """Scan the Python files under `folders` of `root`."""
    wanted = list(packages)
    found = Discovery({package.name: [] for package in wanted})
    tops = {prefix.split(".")[0] for package in wanted for prefix in package.imports}
    mention = re.compile(r"\b(" + "|".join(sorted(tops | {package.name for package in wanted})) + r")\b", re.IGNORECASE)
    for path in _python_files(root, folders):
        name = path.relative_to(root).as_posix()
        serving = [p for p in wanted if _serves(p, name, (servers or {}).get(p.name, ServerFiles()))]
        text = _read(path, name)
        if not serving and not mention.search(text):
            continue
        found.num_files += 1
        _scan_file(text, name, wanted, serving, servers or {}, found)
    return found


def _python_files(root: Path, folders: Iterable[str]) -> list[Path]:
    return sorted(path for folder in folders for path in (root / folder).rglob("*.py"))


def _read(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageProblem(f"{name} is not UTF-8: {error}", code="unreadable", file=name) from None


def _serves(package: Package, name: str, server: ServerFiles) -> bool:
    stem = Path(name).stem
    by_name = name.startswith("areal/") and package.name in stem and "harness" not in name
    module = server.flags_class.rpartition(".")[0].replace(".", "/")
    return by_name or name in server.clients or bool(module and name.startswith(module))


def _scan_file(
    text: str,
    name: str,
    wanted: list[Package],
    serving: list[Package],
    servers: Mapping[str, ServerFiles],
    found: Discovery,
) -> None:
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        message = f"{name}:{error.lineno}: does not parse: {error.msg}"
        raise UsageProblem(message, code="syntax", file=name, line=error.lineno or 0) from None
    scan = FileScan(tree, name, lambda dotted: _is_third_party(dotted, wanted))
    for node, place in scan.visit():
        for usage in usages_of(node, place, scan):
            for package in wanted:
                if package.owns(usage.symbol.replace("()", "")):
                    found.usages[package.name].append(usage)
    for package in serving:
        server = servers.get(package.name, ServerFiles())
        if package.name in Path(name).stem or name in server.clients:
            found.usages[package.name] += server_requests(scan)
            found.usages[package.name] += server_flags(scan)
        class_name = server.flags_class.rpartition(".")[2]
        if class_name:
            found.usages[package.name] += config_flags(scan, class_name, server.ignored_flags)


def _is_third_party(dotted: str, wanted: Iterable[Package]) -> bool:
    """Whether a name belongs to a wanted package or is a package around one (`megatron` around `megatron.core`)."""
    return any(
        package.owns(dotted) or any(prefix.startswith(dotted + ".") for prefix in package.imports) for package in wanted
    )


def all_packages() -> list[Package]:
    """Every focused package."""
    return list(PACKAGES.values())
