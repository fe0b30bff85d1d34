# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Names that a module hands out without binding them: maps behind `__getattr__`, import structures, aliases of modules.

What is recognised: a dict from names to modules or `module:name` or `(module, name)`, a dict from submodules to lists of
names (`_import_structure`, `lazy_loader.attach`), `_LazyModule` with `define_import_structure`, calls `*alias*(old, new)`
and `sys.modules[...] = module`.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from areal.harness.apiaudit.library.sources import Sources

_ALL = re.compile(r"^__all__\s*(?:\+?=|\.extend\()\s*[\[(](.*?)[\])]", re.MULTILINE | re.DOTALL)
_GENERATORS = ("modular_", "convert_")
Target = tuple[str, str | None]
"""Module and name in it; without a name the module itself."""


@dataclass
class LazyFacts:
    """What one walk over a module finds: entries of dicts by the names they mention, alias calls, stores in `sys.modules`."""

    entries: dict[str, list[tuple[str, ast.expr]]] = field(default_factory=dict)
    alias_calls: list[list[str]] = field(default_factory=list)
    stored_modules: list[tuple[str, str]] = field(default_factory=list)  # last part of the key, local name


def lazy_target(sources: Sources, module: str, name: str) -> Target | None:
    """Where a module gets a name from that it does not bind."""
    base = module if sources.is_package(module) else module.rpartition(".")[0]
    for key, value in _facts(sources, module).entries.get(name, []):
        target = _from_entry(sources, base, name, key, value)
        if target is not None:
            return target
    found = _from_alias_call(sources, base, name) or _from_sys_modules(sources, base, name)
    return found or _indexed(sources, module, name)


def _facts(sources: Sources, module: str) -> LazyFacts:
    facts = sources.notes.get(module)
    if not isinstance(facts, LazyFacts):
        facts = LazyFacts()
        for node in ast.walk(sources.tree(module)):
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    _add_entry(facts, key, value)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
                _add_store(facts, node, node.targets[0])
            elif isinstance(node, ast.Call) and "alias" in ast.unparse(node.func):
                facts.alias_calls.append([text for text in map(_text_of, node.args) if text])
        sources.notes[module] = facts
    return facts


def _add_entry(facts: LazyFacts, key: ast.expr | None, value: ast.expr) -> None:
    if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
        return
    mentioned = {key.value}
    if isinstance(value, ast.List | ast.Tuple | ast.Set):
        mentioned |= {e.value for e in value.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)}
    for name in mentioned:
        facts.entries.setdefault(name, []).append((key.value, value))


def _add_store(facts: LazyFacts, node: ast.Assign, target: ast.Subscript) -> None:
    if ast.unparse(target.value) == "sys.modules":
        text = _text_of(target.slice)
        if text and isinstance(node.value, ast.Name):
            facts.stored_modules.append((text.split(".")[-1], node.value.id))
    else:
        _add_entry(facts, target.slice, node.value)


def _from_entry(sources: Sources, base: str, name: str, key: str, value: ast.expr) -> Target | None:
    if isinstance(value, ast.List | ast.Tuple | ast.Set):
        strings = [e.value for e in value.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)]
        if key == name and isinstance(value, ast.Tuple) and len(strings) == 2:
            return _module_and_name(sources, base, f"{strings[0]}:{strings[1]}", name)
        if name in strings:
            for candidate in (f"{base}.{key.lstrip('.')}", key):
                if sources.has_module(candidate):
                    return candidate, name
    elif key == name and isinstance(value, ast.Constant) and isinstance(value.value, str):
        return _module_and_name(sources, base, value.value, name)
    return None


def _module_and_name(sources: Sources, base: str, text: str, name: str) -> Target | None:
    path, _, inner = text.partition(":")
    for candidate in ((base + path) if path.startswith(".") else f"{base}.{path}", path):
        if sources.has_module(candidate):
            target = inner or name
            holds = (
                target in sources.names(candidate)
                or sources.stars(candidate)
                or sources.has_module(f"{candidate}.{target}")
            )
            return (candidate, target) if inner or holds else (candidate, None)
        owner, _, last = candidate.rpartition(".")
        if not inner and sources.has_module(owner) and last in sources.names(owner):
            return owner, last
    return None


def _from_alias_call(sources: Sources, base: str, name: str) -> Target | None:
    for strings in _facts(sources, base).alias_calls:
        if len(strings) >= 2 and strings[0].split(".")[-1] == name:
            target = f"{base}.{strings[1].lstrip('.')}"
            if sources.has_module(target):
                return target, None
    return None


def _text_of(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):  # __name__ + ".old"
        return _text_of(node.right)
    return None


def _from_sys_modules(sources: Sources, base: str, name: str) -> Target | None:
    for last, local in _facts(sources, base).stored_modules:
        if last == name:
            for definition in sources.definitions(base, local):
                found = _imported_module(sources, base, definition.node, local)
                if found:
                    return found, None
    return None


def _imported_module(sources: Sources, base: str, node: ast.stmt, name: str) -> str | None:
    if isinstance(node, ast.ImportFrom):
        original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
        prefix = base if node.level else ""
        candidate = ".".join(part for part in (prefix, node.module, original) if part)
        return candidate if sources.has_module(candidate) else None
    if isinstance(node, ast.Import):
        candidate = next(alias.name for alias in node.names if alias.asname == name)
        return candidate if sources.has_module(candidate) else None
    return None


def _indexed(sources: Sources, module: str, name: str) -> Target | None:
    """Packages that list their names at run time: the submodule that defines the name and exports it."""
    text = sources.text(module)
    if "_LazyModule" not in text and "define_import_structure" not in text:
        return None
    inside = [found for found in sources.modules_defining(name) if found.startswith(module + ".")]
    exported = [found for found in inside if _exports(sources, found, name)]
    if not exported:
        return None
    return min(exported, key=lambda found: (found.count("."), len(found))), name


def _exports(sources: Sources, module: str, name: str) -> bool:
    """Whether a module lists a name in `__all__`, or marks it for export with a decorator.

    transformers leaves out its `modular_*` files, from which the others are generated.
    """
    if module.rpartition(".")[2].startswith(_GENERATORS):
        return False
    text = sources.text(module)
    for listed in _ALL.findall(text):
        if f'"{name}"' in listed or f"'{name}'" in listed:
            return True
    return bool(
        re.search(
            rf"^@(?:requires|export)\b[^\n]*\n(?:@[^\n]*\n)*(?:class|def) {re.escape(name)}\b", text, re.MULTILINE
        )
    )


def understood_names(sources: Sources, module: str) -> bool:
    """Whether the module's `__getattr__` draws on a map that `lazy_target` reads, so that what it lacks is really missing."""
    maps = {
        target.id
        for node in sources.tree(module).body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict) and node.value.keys
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for definition in sources.definitions(module, "__getattr__"):
        used = {child.id for child in ast.walk(definition.node) if isinstance(child, ast.Name)}
        if not used & maps:
            return False
    return True
