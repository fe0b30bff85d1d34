# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a dotted name exists in our own code, decided from syntax trees; nothing is imported.

Knows definitions, assignments, imports, class members and inherited ones, dataclass fields, instance attributes, and the lazy
names that `areal.utils.lazy.attach` hands out.
"""

from __future__ import annotations

import ast
import difflib
import functools
import re

from areal.harness.core.tree import Tree

WORD = re.compile(r"[A-Za-z_]\w+")
CODE_SUFFIXES = (".py", ".toml", ".yaml", ".yml", ".json", ".j2", ".cfg", "Makefile")
Node = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


class SymbolIndex:
    """Definitions of one tree, parsed when a reference asks for them."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._modules: dict[str, ast.Module | None] = {}
        self._bound: dict[Node, dict[str, ast.AST | str]] = {}

    def module_file(self, dotted: str) -> str | None:
        """The file of a module or package; a folder without `__init__.py` counts with a trailing slash."""
        base = dotted.replace(".", "/")
        for path in (f"{base}.py", f"{base}/__init__.py"):
            if path in self.tree.file_set:
                return path
        return f"{base}/" if base in self.tree.folders else None

    def exists(self, dotted: str) -> bool:
        """Whether a dotted name is a module or something inside the longest module that is a prefix of it."""
        parts = dotted.split(".")
        for cut in range(len(parts), 0, -1):
            path = self.module_file(".".join(parts[:cut]))
            if path is not None:
                return cut == len(parts) or (not path.endswith("/") and self.in_file(path, parts[cut:]))
        return False

    def in_file(self, path: str, names: list[str]) -> bool:
        """Whether a file defines `names[0]`, that has the member `names[1]`, and so on."""
        module = self.parsed(path)
        return module is not None and self._has(module, path, names, depth=0)

    def parsed(self, path: str) -> ast.Module | None:
        """The syntax tree of a file; None when it has none."""
        if path not in self._modules:
            try:
                self._modules[path] = ast.parse(self.tree.text(path))
            except SyntaxError:
                self._modules[path] = None
        return self._modules[path]

    def _has(self, scope: Node, path: str, names: list[str], depth: int) -> bool:
        if not names or depth > 8:  # a chain of re-exports and bases deeper than this is a loop
            return not names
        name, rest = names[0], names[1:]
        found = self._bindings(scope).get(name)
        if found is None:
            return self._inherited(scope, path, names, depth)
        if not rest:
            return True
        if isinstance(found, (ast.ClassDef, *FUNCTION)):
            return self._has(found, path, rest, depth + 1)
        if isinstance(found, str):  # re-exported from elsewhere
            home = f"{found}.{'.'.join(rest)}"
            return self.exists(home) if found.split(".")[0] in self.top_packages else True
        return True  # an attribute of a value: its type is not known here

    def _bindings(self, scope: Node) -> dict[str, ast.AST | str]:
        if scope not in self._bound:
            self._bound[scope] = _bindings(scope)
        return self._bound[scope]

    def _inherited(self, scope: Node, path: str, names: list[str], depth: int) -> bool:
        if not isinstance(scope, ast.ClassDef):
            return False
        module = self.parsed(path)
        assert module is not None
        for base in scope.bases:
            dotted = ast.unparse(base).partition("[")[0]
            if dotted in ("Enum", "IntEnum", "StrEnum", "Protocol", "ABC", "Exception"):
                continue
            local = self._bindings(module).get(dotted.split(".")[0])
            if isinstance(local, ast.ClassDef) and self._has(local, path, names, depth + 1):
                return True
            if isinstance(local, str) and self._base_elsewhere(local, names, depth):
                return True
        return False

    def _base_elsewhere(self, dotted: str, names: list[str], depth: int) -> bool:
        if dotted.split(".")[0] not in self.top_packages:
            return True  # a base from another package may have anything
        home, _, base = dotted.rpartition(".")
        path = self.module_file(home)
        return bool(path) and not str(path).endswith("/") and self.in_file(str(path), [base, *names])

    @functools.cached_property
    def top_packages(self) -> frozenset[str]:
        """First parts of our own dotted names."""
        return frozenset(name.split("/")[0] for name in self.tree.files if name.endswith(".py") and "/" in name)

    @functools.cached_property
    def words(self) -> frozenset[str]:
        """Every identifier-like word of code and configuration; the harness's own texts and tests do not count."""
        skipped = ("tests/harness/", ".agents/", ".claude/", ".codex/", ".opencode/")
        names = [name for name in self.tree.files if name.endswith(CODE_SUFFIXES) and not name.startswith(skipped)]
        found: set[str] = set()
        for name in names:
            found.update(WORD.findall(self.tree.text(name)))
        return frozenset(found)

    def close_word(self, word: str) -> str | None:
        """The word of the code base that was probably meant, if there is exactly one."""
        close = difflib.get_close_matches(word, self.words, n=2, cutoff=0.85)
        return close[0] if len(close) == 1 else None

    def homes(self, name: str) -> list[str]:
        """The modules under `areal` that define a top-level name."""
        pattern = re.compile(rf"^(?:class|def|async def) {re.escape(name)}\b|^{re.escape(name)}\s*[:=]", re.MULTILINE)
        files = [path for path in self.tree.files if path.startswith("areal/") and path.endswith(".py")]
        return [
            path[:-3].removesuffix("/__init__").replace("/", ".")
            for path in files
            if pattern.search(self.tree.text(path))
        ]


def _bindings(scope: Node) -> dict[str, ast.AST | str]:
    """Names bound in a scope: the defining node, or the dotted origin of an imported name."""
    found: dict[str, ast.AST | str] = {}
    if isinstance(scope, FUNCTION):
        arguments = scope.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            found[argument.arg] = argument
    for node in _statements(scope):
        _bind(node, found)
    if isinstance(scope, ast.ClassDef):
        for method in scope.body:
            if isinstance(method, FUNCTION):
                found |= {name: method for name in _self_attributes(method) if name not in found}
    return found


def _statements(scope: Node) -> list[ast.stmt]:
    """Statements of a scope, including those under `if`, `try` and `with`, without nested scopes."""
    out: list[ast.stmt] = []
    pending: list[ast.AST] = list(scope.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.stmt):
            out.append(node)
        if not isinstance(node, (ast.ClassDef, *FUNCTION, ast.expr)):
            pending += ast.iter_child_nodes(node)
    return sorted(out, key=lambda node: node.lineno)


def _bind(node: ast.stmt, found: dict[str, ast.AST | str]) -> None:
    if isinstance(node, (ast.ClassDef, *FUNCTION)):
        found[node.name] = node
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    elif isinstance(node, ast.Import):
        for alias in node.names:
            found[alias.asname or alias.name.split(".")[0]] = alias.name
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        found[node.target.id] = node
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            for name in ast.walk(target):
                if isinstance(name, ast.Name):
                    found[name.id] = node
        _bind_lazy(node, found)


def _bind_lazy(node: ast.Assign, found: dict[str, ast.AST | str]) -> None:
    """The names in `... = attach(__name__, {"Name": "home.module"})`."""
    value = node.value
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "attach":
        for mapping in (argument for argument in value.args if isinstance(argument, ast.Dict)):
            for key, home in zip(mapping.keys, mapping.values, strict=True):
                module = _constant_string(home, found)
                if isinstance(key, ast.Constant) and module:
                    found[str(key.value)] = module if module.endswith(f".{key.value}") else f"{module}.{key.value}"


def _constant_string(node: ast.expr, found: dict[str, ast.AST | str]) -> str:
    """A string literal, the name of one that was assigned above, or an f-string of such."""
    if isinstance(node, ast.Name):
        assigned = found.get(node.id)
        return _constant_string(assigned.value, {}) if isinstance(assigned, ast.Assign) else ""
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.FormattedValue) else part for part in node.values)
        return "".join(_constant_string(part, found) for part in parts)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _self_attributes(method: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    stored = (node for node in ast.walk(method) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
    return {node.attr for node in stored if isinstance(node.value, ast.Name) and node.value.id == "self"}
