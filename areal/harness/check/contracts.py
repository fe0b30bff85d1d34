# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the API contracts are what `areal api discover` wrote (H001, H002), and their curated part names symbols that we use.

Cheap on purpose: it compares a contract with its own checksum and its view. Whether it still says what our sources do is for
`areal api discover --check`, which reads all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from areal.harness.apiaudit.contract import Contract, contract_path, digest_of, read_contract
from areal.harness.apiaudit.markdown_view import render_entries
from areal.harness.apiaudit.packages import PACKAGES
from areal.harness.core.errors import HarnessError
from areal.harness.core.findings import Finding, Fix
from areal.harness.core.tree import Tree


def check_contracts(tree: Tree) -> Iterator[Finding]:
    """Findings about every contract that is there."""
    for package in PACKAGES.values():
        path = contract_path(tree.root, package)
        if not path.is_file():
            continue
        file = path.relative_to(tree.root).as_posix()
        try:
            contract = read_contract(tree.root, package)
        except HarnessError as problem:
            yield Finding(code="H010", message=problem.message, file=file)
            continue
        build = Fix(kind="run", command=f"areal api discover {package.name}")
        if digest_of(contract.symbols) != contract.digest:
            message = "its generated block was edited by hand; run: " + build.command
            yield Finding(code="H002", message=message, file=file, fix=build)
            continue
        view = path.with_suffix(".md")
        if not view.is_file() or view.read_text(encoding="utf-8", errors="replace") != render_entries(
            contract, contract.symbols
        ):
            message = f"differs from what {file} gives now; run: {build.command}"
            yield Finding(code="H001", message=message, file=f"{file.removesuffix('.yaml')}.md", fix=build)
        yield from _unused(contract, file)


def _unused(contract: Contract, file: str) -> Iterator[Finding]:
    """Symbols of the curated block that no entry of the generated block has."""
    used = {entry["symbol"].replace("()", "") for entry in contract.symbols}
    for symbol in _curated_symbols(contract.curated):
        plain = symbol.replace("()", "")
        if not any(name == plain or name.startswith(f"{plain}.") or plain.startswith(f"{name}.") for name in used):
            yield Finding(code="H021", message=f"curated: {symbol} is used nowhere in our sources", file=file)


def _curated_symbols(curated: Any) -> Iterator[str]:
    for section in ("accepts", "resolves_to"):
        yield from curated.get(section, {})
    for section in ("semantics", "ignore"):
        yield from (entry["symbol"] for entry in curated.get(section, ()))
