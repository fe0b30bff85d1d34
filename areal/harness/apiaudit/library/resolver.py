# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Follows chains of names through the sources of a release: imports, re-exports, aliases, conditions, classes, results.

Called by the checks and by `areal api show`. Names that nothing in the sources binds are looked for by `lazy_names.py`;
members of classes by `classes.py`.
"""

from __future__ import annotations

import ast
from dataclasses import replace

from areal.harness.apiaudit.library.classes import Classes
from areal.harness.apiaudit.library.dynamic_modules import is_dynamic
from areal.harness.apiaudit.library.lazy_branches import branch_for, source_in
from areal.harness.apiaudit.library.lazy_names import lazy_target
from areal.harness.apiaudit.library.sources import Definition, Sources
from areal.harness.apiaudit.library.symbols import CONCRETE, Symbol, What, external, missing, unknown
from areal.harness.apiaudit.library.values import ENTERED, result_of, value_of

_MAX_DEPTH = 40
"""Steps through re-exports; real packages need fewer than ten."""
_MODULE_ATTRIBUTES = ("__version__", "__file__", "__name__", "__path__", "__doc__", "__all__", "__spec__", "__dict__")


class Library:
    """A release; `around` are the sources of what else is installed, for bases and re-exports from other distributions."""

    def __init__(self, sources: Sources, around: Sources | None = None) -> None:
        self.sources = sources
        self._outer = None if around is None else Library(around)
        self._resolved: dict[str, Symbol] = {}
        self._members: dict[tuple[str, str], Symbol] = {}
        self.classes = Classes(self)

    # ---------------------------------------------------------------- chains
    def resolve(self, chain: str) -> Symbol:
        """What a chain stands for."""
        if chain not in self._resolved:
            self._resolved[chain] = unknown(chain, "defined by way of itself")
            self._resolved[chain] = self._resolve(chain)
        return self._resolved[chain]

    def _resolve(self, chain: str) -> Symbol:
        parts = chain.split(".")
        top = parts[0].replace("()", "")
        if top not in self.sources.tops:
            return self._from_outside(chain)
        current = Symbol(what=What.MODULE, path=top, module=top)
        for part in parts[1:]:
            name = part.replace("()", "")
            current = self.member(current, name)
            for _ in range(part.count("()")):
                if current.is_found:
                    current = result_of(self, current)
            if not current.is_found:
                return current
        return current

    def _from_outside(self, chain: str) -> Symbol:
        top = chain.split(".")[0].replace("()", "")
        if self._outer is not None and top in self._outer.sources.tops:
            found = self._outer.resolve(chain)
            if found.what is What.CLASS:
                return found
        return external(chain)

    def member(self, current: Symbol, name: str) -> Symbol:
        """The member of a module, class, instance or annotated value."""
        if current.what is What.MODULE:
            return self.module_member(current.module, name)
        if current.note == ENTERED and current.what is What.ATTRIBUTE:
            if name in ("__enter__", "__aenter__"):
                return replace(current, what=What.FUNCTION)
            return unknown(f"{current.path}.{name}", ENTERED)
        if current.what is What.ATTRIBUTE or (current.what is What.FUNCTION and current.note == "property"):
            value = value_of(self, current)
            return self.member(value, name) if value.is_found else unknown(f"{current.path}.{name}", value.note)
        if current.what in (What.CLASS, What.INSTANCE):
            return self.classes.member(current, name)
        return unknown(f"{current.path}.{name}", f"attribute of a {current.what.value}")

    # ---------------------------------------------------------------- modules
    def module_member(self, module: str, name: str, depth: int = 0) -> Symbol:
        """What a name is in a module after importing it (and the submodule of that name, if there is one)."""
        if depth > _MAX_DEPTH:
            return unknown(f"{module}.{name}", "re-exported in a circle")
        if (module, name) not in self._members:
            self._members[module, name] = self._module_member(module, name, depth)
        return self._members[module, name]

    def _module_member(self, module: str, name: str, depth: int) -> Symbol:
        path = f"{module}.{name}"
        sources = self.sources
        if module.split(".")[0] not in sources.tops and self._outer is not None:
            return self._outer.module_member(module, name, depth)
        found = [d for d in sources.definitions(module, name) if not d.typing_only or self._typing_names_count(module)]
        if found:
            symbol = self._from_definitions(module, name, found, depth)
            if symbol is not None and (symbol.is_found or not sources.has_module(path)):
                return symbol
        if sources.has_module(path):
            return Symbol(what=What.MODULE, path=path, module=path)
        if sources.does_not_parse(module):
            return unknown(path, f"{module} does not parse with this Python")
        if sources.is_compiled(module):
            return unknown(path, "compiled module")
        if name in _MODULE_ATTRIBUTES:
            return Symbol(what=What.ATTRIBUTE, path=path, module=module)
        return self._from_elsewhere(module, name, depth)

    def _from_elsewhere(self, module: str, name: str, depth: int) -> Symbol:
        """Lazy exports, then star imports, then whether the module makes names at run time."""
        path = f"{module}.{name}"
        lazy = lazy_target(self.sources, module, name)
        if lazy is not None:
            target_module, target_name = lazy
            if target_name is None:
                return Symbol(what=What.MODULE, path=target_module, module=target_module, note="lazy")
            found = self.module_member(target_module, target_name, depth + 1)
            if found.is_found:
                return replace(found, note=found.note or "lazy")
        branch = branch_for(self.sources, module, name)
        if branch:
            return self._from_branch(module, name, branch, depth)
        star = self._from_stars(module, name, depth)
        if star is not None and (star.is_found or star.what is not What.MISSING):
            return star
        reason = is_dynamic(self.sources, module, is_refused=branch is not None)
        if reason:
            return unknown(path, reason, dynamic=True)
        return missing(path, f"module {module} has no {name!r}", module)

    def _from_branch(self, module: str, name: str, branch: list[ast.stmt], depth: int) -> Symbol:
        source = source_in(branch, name)
        if source is None:
            return unknown(f"{module}.{name}", f"made by the __getattr__ of {module}")
        statement, original = source
        found = self.module_member(self.absolute(module, statement), original, depth + 1)
        if found.what is What.MODULE and original != name:
            found = self.module_member(found.module, name, depth + 1)
        return replace(found, note=found.note or "lazy") if found.is_found else found

    def _from_stars(self, module: str, name: str, depth: int) -> Symbol | None:
        undecided = None
        if "_LazyModule" in self.sources.text(module) and not self.sources.modules_defining(name):
            return None
        for definition in self.sources.stars(module):
            if definition.typing_only and not self._typing_names_count(module):
                continue
            assert isinstance(definition.node, ast.ImportFrom)
            target = self.absolute(module, definition.node)
            if target.split(".")[0] not in self.sources.tops:
                undecided = unknown(f"{module}.{name}", f"star import from {target}", dynamic=True)
            elif self.sources.is_compiled(target):
                undecided = unknown(f"{module}.{name}", f"star import from compiled {target}", dynamic=True)
            elif self._star_exports(target, name):
                found = self.module_member(target, name, depth + 1)
                if found.is_found:
                    return found
        return undecided

    def _star_exports(self, module: str, name: str) -> bool:
        text = self.sources.text(module)
        if name not in text and "import *" not in text:
            return False  # nothing is parsed for the thousands of modules that do not mention the name
        if self.sources.is_stub(module):
            return True
        listed = self._literal_all(module)
        return not name.startswith("_") if listed is None else name in listed

    def _literal_all(self, module: str) -> set[str] | None:
        names: set[str] | None = None
        for definition in self.sources.definitions(module, "__all__"):
            value = definition.node.value if isinstance(definition.node, ast.Assign | ast.AnnAssign) else None
            if not isinstance(value, ast.List | ast.Tuple) or definition.conditional:
                return None
            names = {element.value for element in value.elts if isinstance(element, ast.Constant)}
        extended = "__all__ +=" in self.sources.text(module) or "__all__.extend" in self.sources.text(module)
        return None if extended else names

    def _typing_names_count(self, module: str) -> bool:
        """Names imported under TYPE_CHECKING exist at run time only where the module also hands them out lazily."""
        text = self.sources.text(module)
        return (
            "__getattr__" in text or "LazyModule" in text or "sys.modules[__name__]" in text or "lazy" in text.lower()
        )

    def absolute(self, module: str, node: ast.ImportFrom) -> str:
        """The absolute module of a `from ... import`."""
        if not node.level:
            return node.module or ""
        parts = module.split(".")
        keep = len(parts) - node.level + (1 if self.sources.is_package(module) else 0)
        base = ".".join(parts[:keep])
        return f"{base}.{node.module}" if node.module else base

    # ---------------------------------------------------------------- definitions
    def _from_definitions(self, module: str, name: str, found: list[Definition], depth: int) -> Symbol | None:
        symbols = [self._from_definition(module, name, definition.node, depth) for definition in found]
        known = [symbol for symbol in symbols if symbol is not None]
        if not known:
            return None
        if len(found) > 1 and not any(definition.conditional for definition in found) and not _are_overloads(found):
            known = known[-1:]  # a later statement replaces an earlier one
        order = (What.CLASS, What.FUNCTION, What.MODULE, What.INSTANCE, What.ATTRIBUTE, What.UNKNOWN, What.EXTERNAL)
        known.sort(key=lambda symbol: order.index(symbol.what) if symbol.what in order else len(order))
        return replace(known[0], also=(*known[0].also, *known[1:]))

    def _from_definition(self, module: str, name: str, node: ast.stmt, depth: int) -> Symbol | None:
        path = f"{module}.{name}"
        if isinstance(node, ast.ClassDef):
            return Symbol(what=What.CLASS, path=path, module=module, node=node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return Symbol(what=What.FUNCTION, path=path, module=module, node=node)
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname == name:
                    return self._imported(alias.name)
                if alias.asname is None and alias.name.split(".")[0] == name:
                    return self._imported(name)
        if isinstance(node, ast.ImportFrom):
            original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
            target = self.absolute(module, node)
            if f"{target}.{original}" == path:
                return Symbol(what=What.MODULE, path=path, module=path) if self.sources.has_module(path) else None
            if target.split(".")[0] not in self.sources.tops:
                return self._from_outside(f"{target}.{original}")
            if target == module:
                return self.module_member(module, original, depth + 1)
            return self.module_member(target, original, depth + 1)
        if isinstance(node, ast.Assign | ast.AnnAssign):
            return self._from_assignment(module, name, node, depth)
        return Symbol(what=What.ATTRIBUTE, path=path, module=module, node=node)

    def _imported(self, target: str) -> Symbol:
        if target.split(".")[0] not in self.sources.tops:
            return external(target)
        return Symbol(what=What.MODULE, path=target, module=target)

    def _from_assignment(self, module: str, name: str, node: ast.Assign | ast.AnnAssign, depth: int) -> Symbol | None:
        path = f"{module}.{name}"
        value = node.value
        if isinstance(value, ast.Name | ast.Attribute):
            dotted = ast.unparse(value)
            followed = self.in_module(module, dotted, depth + 1) if dotted.split(".")[0] != name else None
            if followed is not None and followed.what in (What.CLASS, What.FUNCTION, What.MODULE):
                return followed
        if isinstance(value, ast.Call):
            strings = [a.value for a in value.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            if ast.unparse(value.func).endswith("LazyImport") and len(strings) == 2:
                return self.resolve(".".join(strings))
            if any(isinstance(argument, ast.Name) and argument.id == name for argument in value.args):
                return None  # X = decorator(X): the class or function stays what it was
        return Symbol(what=What.ATTRIBUTE, path=path, module=module, node=node)

    def in_module(self, module: str, dotted: str, depth: int = 0) -> Symbol:
        """What a dotted name means inside a module."""
        head, *rest = dotted.split(".")
        current = self.module_member(module, head, depth + 1)
        if current.what is What.EXTERNAL:
            return self._from_outside(".".join([current.path, *rest]))
        for name in rest:
            if not current.is_found:
                break
            current = self.member(current, name)
        return current

    # ---------------------------------------------------------------- hints
    def moved_to(self, name: str) -> list[str]:
        """Public places that define a name now, shortest first; for hints only."""
        places = [f"{module}.{name}" for module in self.sources.modules_defining(name)]
        places = [path for path in places if self.resolve(path).what in CONCRETE]
        return sorted(places, key=lambda path: ("._" in path, path.count("."), path))[:3]


def _are_overloads(found: list[Definition]) -> bool:
    return all(
        isinstance(d.node, ast.FunctionDef | ast.AsyncFunctionDef)
        and any("overload" in ast.unparse(decorator) for decorator in d.node.decorator_list)
        for d in found[:-1]
    )
