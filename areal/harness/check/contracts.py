# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the API contracts are what `areal api discover` wrote (H001, H002), and their curated part names symbols that we use.

Cheap on purpose: it compares a contract with its own checksum and its view. Whether it still says what our sources do is for
`areal api discover --check`, which reads all of them.
"""

from __future__ import annotations

import re
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
        view = path.with_suffix(".md")
        shown = view.read_text(encoding="utf-8", errors="replace") if view.is_file() else ""
        rendered = render_entries(contract, contract.symbols)
        if digest_of(contract.symbols) != contract.digest:
            message = f"its generated block was edited by hand{_changed(shown, rendered)}; run: {build.command}"
            yield Finding(code="H002", message=message, file=file, fix=build)
        elif shown != rendered:
            message = f"differs from what {file} gives now; run: {build.command}"
            yield Finding(code="H001", message=message, file=f"{file.removesuffix('.yaml')}.md", fix=build)
        yield from _unmentioned(tree, contract, file)
        yield from _unused(contract, file)


def _changed(shown: str, rendered: str) -> str:
    """The symbols of the lines in which the view differs from the contract."""
    changed = sorted(set(shown.split("\n")) ^ set(rendered.split("\n")))
    names = dict.fromkeys(name for line in changed for name in re.findall(r"`([\w.()]+)`", line)[:1])
    return f" ({', '.join(list(names)[:4])})" if names else ""


def _unmentioned(tree: Tree, contract: Contract, file: str) -> Iterator[Finding]:
    """Symbols with a part that no file of their sites has."""
    texts: dict[str, str] = {}
    for entry in contract.symbols:
        symbol = entry["symbol"].replace("()", "")
        if entry["kind"] in ("route", "flag"):
            continue
        if not contract.package.owns(symbol):
            message = f"{entry['symbol']} is no name of {', '.join(contract.package.imports)}"
            yield Finding(code="H021", message=message, file=file)
            continue
        sites = {site.partition("#")[0] for site in entry["sites"]} & tree.file_set
        for name in sites - texts.keys():
            texts[name] = tree.text(name)
        lacking = [part for part in symbol.split(".") if sites and not any(part in texts[name] for name in sites)]
        if lacking and not all(part.startswith("__") for part in lacking):
            where = ", ".join(sorted(sites)[:2])
            yield Finding(code="H021", message=f"{entry['symbol']}: {where} mentions no {lacking[0]!r}", file=file)


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
