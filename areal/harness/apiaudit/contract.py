# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The contracts `checklists/<package>.yaml`: a block that `areal api discover` owns, and one that people own.

The generated block lists every symbol we use with the shapes of its uses and its sites; its digest tells when it no longer
matches our sources. The curated block is kept as it stands, comments included.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from areal.harness.apiaudit.errors import UnreadableContract
from areal.harness.apiaudit.ours.discovery import ServerFiles
from areal.harness.apiaudit.packages import Package
from areal.harness.apiaudit.usage import Kind, Usage

FOLDER = "checklists"
_CURATED_MARK = "curated:"
_HEADER = """\
# Contract with {name}. `generated:` is written by `areal api discover {name}` (edits are lost);
# `curated:` belongs to people and is kept as it is.
"""
_EMPTY_CURATED = "curated: {}\n"

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["schema", "package", "imports", "generated", "curated"],
    "properties": {
        "schema": {"const": "areal/api@1"},
        "package": {"type": "string"},
        "imports": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "generated": {
            "type": "object",
            "additionalProperties": False,
            "required": ["digest", "symbols"],
            "properties": {
                "variants": {"type": "object", "additionalProperties": {"type": "string"}},
                "digest": {"type": "string"},
                "symbols": {
                    "type": "array",
                    "items": {"type": "object", "required": ["symbol", "kind", "sites"]},
                },
            },
        },
        "curated": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "accepts": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
                "semantics": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["symbol", "check", "test"],
                        "properties": {name: {"type": "string"} for name in ("symbol", "check", "test")},
                    },
                },
                "http": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "clients": {"type": "array", "items": {"type": "string"}},
                        "nested": {"type": "object", "additionalProperties": {"type": "string"}},
                    },
                },
                "flags": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "dataclass": {"type": "string"},
                        "ignored": {"type": "array", "items": {"type": "string"}},
                    },
                },
                "ignore": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["symbol", "reason"],
                        "properties": {name: {"type": "string"} for name in ("symbol", "reason", "code", "until")},
                    },
                },
                "notes": {"type": "array", "items": {"type": "string"}},
            },
        },
    },
}


@dataclass(frozen=True)
class Contract:
    """A contract as read from disk; empty when there is none yet."""

    package: Package
    digest: str = ""
    symbols: list[dict[str, Any]] = field(default_factory=list)
    curated: Mapping[str, Any] = field(default_factory=dict)
    curated_text: str = _EMPTY_CURATED

    def server_files(self) -> ServerFiles:
        """What it says about our clients of the package's server."""
        http, flags = self.curated.get("http", {}), self.curated.get("flags", {})
        return ServerFiles(
            clients=tuple(http.get("clients", ())),
            flags_class=flags.get("dataclass", ""),
            ignored_flags=frozenset(flags.get("ignored", ())),
        )

    def nested(self) -> dict[str, str]:
        """The classes behind dicts in requests."""
        return dict(self.curated.get("http", {}).get("nested", {}))


def contract_path(root: Path, package: Package) -> Path:
    """Where the contract lies."""
    return root / FOLDER / f"{package.name}.yaml"


def read_contract(root: Path, package: Package) -> Contract:
    """The contract of a package; `UnreadableContract` when the file is broken."""
    path = contract_path(root, package)
    name = f"{FOLDER}/{path.name}"
    if not path.is_file():
        return Contract(package)
    try:
        text = path.read_text(encoding="utf-8")
        data = yaml.load(text, Loader=yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        message = f"{name} is not readable YAML: {' '.join(str(error).split())[:200]}"
        raise UnreadableContract(message, code="yaml", file=name) from None
    problem = next(iter(sorted(Draft202012Validator(SCHEMA).iter_errors(data), key=str)), None)
    if problem is not None:
        where = ".".join(map(str, problem.absolute_path)) or "top level"
        raise UnreadableContract(f"{name}: {where}: {problem.message[:200]}", code="schema", file=name)
    start = text.find("\n" + _CURATED_MARK)
    return Contract(
        package, data["generated"]["digest"], data["generated"]["symbols"], data["curated"], text[start + 1 :]
    )


def generated_block(usages: Iterable[Usage]) -> list[dict[str, Any]]:
    """One entry for each symbol, kind and shape, with its sites, in a stable order."""
    entries: dict[str, tuple[dict[str, Any], set[str]]] = {}
    for usage in usages:
        entry = _entry(usage)
        key = json.dumps(entry, sort_keys=True)
        entries.setdefault(key, (entry, set()))[1].add(usage.site)
    return [
        {**entries[key][0], "sites": sorted(entries[key][1])}
        for key in sorted(entries, key=lambda k: _order(entries[k][0]))
    ]


def _order(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    return entry["symbol"], entry["kind"], json.dumps(entry, sort_keys=True)


def _entry(usage: Usage) -> dict[str, Any]:
    entry: dict[str, Any] = {"symbol": usage.symbol, "kind": usage.kind.value}
    if usage.kind is Kind.CALL:
        entry["positional"] = usage.num_positional
    if usage.keywords:
        entry["keywords"] = list(usage.keywords)
    if usage.open_call:
        entry["open"] = True
    if usage.unpacks is not None:
        entry["unpacks"] = usage.unpacks
    if usage.shape is not None:
        entry["ours"] = [*usage.shape.positional, *usage.shape.keyword_only]
    if usage.guarded:
        entry["guarded"] = True
    if usage.tests:
        entry["when"] = [str(test) for test in usage.tests]
    risk = _risk(usage)
    if risk:
        entry["risk"] = risk
    return entry


def _risk(usage: Usage) -> str:
    """What makes a symbol likelier to change than a documented name."""
    parts = usage.symbol.replace("()", "").split(".")
    if any(part.startswith("_") and not part.startswith("__") for part in parts):
        return "private"
    return "patched" if usage.kind is Kind.PATCH and usage.shape is not None else ""


def digest_of(symbols: list[dict[str, Any]]) -> str:
    """Checksum of the generated block."""
    return hashlib.sha256(json.dumps(symbols, sort_keys=True).encode()).hexdigest()[:16]


def render_contract(contract: Contract, usages: Iterable[Usage], variants: Mapping[str, str]) -> str:
    """The YAML text with a fresh generated block and the curated block as it was; `variants` are the locked versions."""
    symbols = generated_block(usages)
    head = {"schema": "areal/api@1", "package": contract.package.name, "imports": list(contract.package.imports)}
    dumper = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper
    top = yaml.dump(head, Dumper=dumper, sort_keys=False, width=160, allow_unicode=True)
    locked = [f"    {name}: {json.dumps(version)}" for name, version in sorted(variants.items())]
    lines = [
        "generated:",
        *(["  variants:", *locked] if locked else []),
        f"  digest: {digest_of(symbols)}",
        "  symbols:" if symbols else "  symbols: []",
    ]
    for entry in symbols:
        lines += _entry_lines(entry)
    return _HEADER.format(name=contract.package.name) + top + "\n".join(lines) + "\n" + contract.curated_text


def _entry_lines(entry: Mapping[str, Any]) -> list[str]:
    """A compact entry: one line of facts as flow YAML, then one line a site."""
    facts = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in entry.items() if key != "sites"]
    sites = [f"        - {json.dumps(site)}" for site in entry["sites"]]
    return [f"    - {facts[0]}", *(f"      {fact}" for fact in facts[1:]), "      sites:", *sites]
