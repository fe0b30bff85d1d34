# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The Markdown view of a contract, for people; generated beside the YAML by `areal api discover`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from areal.harness.apiaudit.contract import Contract, digest_of, generated_block
from areal.harness.apiaudit.usage import Usage

_MAX_SITES = 3
"""Shown a row; the YAML lists them all."""


def render_view(contract: Contract, usages: Iterable[Usage]) -> str:
    """The page for what our sources use now."""
    return render_entries(contract, generated_block(usages))


def render_entries(contract: Contract, symbols: list[dict[str, Any]]) -> str:
    """The page for given entries of the generated block."""
    name = contract.package.name
    files = sorted({site.split("#")[0] for entry in symbols for site in entry["sites"]})
    lines = [
        f"<!-- GENERATED from checklists/{name}.yaml {digest_of(symbols)}; run: areal api discover {name} -->",
        "",
        f"# Contract with {name}",
        "",
        f"{len({entry['symbol'] for entry in symbols})} symbols in {len(files)} files. Check a release with"
        f" `areal api audit {name}==VERSION`.",
        "",
    ]
    lines += _table(symbols)
    lines += _curated(contract.curated)
    return "\n".join(lines).rstrip() + "\n"


def _table(symbols: list[dict[str, Any]]) -> list[str]:
    if not symbols:
        return [
            "areal uses nothing of it: no import, no request to its server, no flag. An audit has nothing to judge.",
            "",
        ]
    lines = ["| symbol | use | what we pass | sites |", "| --- | --- | --- | --- |"]
    for entry in symbols:
        sites = [f"`{site}`" for site in entry["sites"][:_MAX_SITES]]
        more = len(entry["sites"]) - _MAX_SITES
        shown = ", ".join(sites) + (f" and {more} more" if more > 0 else "")
        lines.append(f"| `{entry['symbol']}` | {_use(entry)} | {_passed(entry)} | {shown} |")
    return [*lines, ""]


def _use(entry: Mapping[str, Any]) -> str:
    marks = [
        entry["kind"],
        *(["guarded"] if entry.get("guarded") else []),
        *([entry["risk"]] if "risk" in entry else []),
    ]
    return ", ".join(marks)


def _passed(entry: Mapping[str, Any]) -> str:
    parts = [f"{entry['positional']} positional"] if entry.get("positional") else []
    parts += [f"`{keyword}`" for keyword in entry.get("keywords", ())]
    parts += ["..."] if entry.get("open") else []
    parts += [f"unpacks {entry['unpacks']}"] if "unpacks" in entry else []
    parts += [f"when {test}".replace("|", "\\|") for test in entry.get("when", ())]
    return ", ".join(parts)


def _curated(curated: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    if curated.get("semantics"):
        lines += ["## Behaviour that needs a test", ""]
        lines += [f"- `{each['symbol']}`: {each['check']} (`{each['test']}`)" for each in curated["semantics"]] + [""]
    if curated.get("ignore"):
        lines += ["## Ignored findings", ""]
        lines += [f"- `{each['symbol']}`: {each['reason']}" for each in curated["ignore"]] + [""]
    if curated.get("notes"):
        lines += ["## Notes", ""] + [f"- {note}" for note in curated["notes"]] + [""]
    return lines
