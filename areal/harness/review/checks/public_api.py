# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""R017: names that others import, or parameters that they pass, that went without a deprecation.

Public is what a package hands out (`__all__`, the map of `attach`, imports in `__init__`) and what `areal.api` defines. A name
that is still bound in its module has not gone, wherever its definition moved. What carried a deprecation may go.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from areal.harness.core.findings import Finding
from areal.harness.review.change import Change, ChangedFile, parse

BREAKAGES = {
    "OBJECT_REMOVED": "was removed",
    "PARAMETER_REMOVED": "lost a parameter",
    "PARAMETER_MOVED": "takes its positional parameters in another order",
    "PARAMETER_CHANGED_REQUIRED": "requires a parameter that had a default",
    "PARAMETER_ADDED_REQUIRED": "requires a new parameter",
    "PARAMETER_CHANGED_KIND": "takes a parameter by other means (position or keyword)",
}
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
HINT = "keep the old name with a warning for one release, then remove it"


def removed_api(change: Change) -> Iterator[Finding]:
    """R017."""
    for file in change.files:
        if not file.old_path.startswith("areal/") or not file.old_path.endswith(".py") or file.status == "A":
            continue
        if _is_private(file.old_path):
            continue
        if file.old_path.endswith("/__init__.py"):
            yield from _exports(change, file)
        if file.old_path.startswith("areal/api/"):
            yield from _definitions(file)
        else:
            yield from _signatures_of_exports(change, file)


def _is_private(path: str) -> bool:
    parts = path.removesuffix(".py").split("/")
    return any(part.startswith("_") and part != "__init__" for part in parts) or path.startswith(
        ("areal/harness/", "areal/cli/", "areal/experimental/")
    )


def exported_names(tree: ast.Module | None) -> dict[str, str]:
    """What an `__init__` hands out: each name with the module it comes from, as far as that is written."""
    names: dict[str, str] = {}
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "attach":
            maps = [argument for argument in node.args if isinstance(argument, ast.Dict)]
            names |= {
                ast.literal_eval(k): ast.literal_eval(v)
                for m in maps
                for k, v in zip(m.keys, m.values)
                if _literal(k, v)
            }
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: node.module or "" for alias in node.names}
        elif isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            listed = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else []
            names = {ast.literal_eval(e): "" for e in listed if isinstance(e, ast.Constant)} | names
    bound = {node.name: "" for node in tree.body if isinstance(node, DEFINITIONS)} if tree else {}
    return {name: module for name, module in (bound | names).items() if not name.startswith("_")}


def _literal(*nodes: ast.expr | None) -> bool:
    return all(isinstance(node, ast.Constant) and isinstance(node.value, str) for node in nodes)


def _exports(change: Change, file: ChangedFile) -> Iterator[Finding]:
    new = parse((change.head.read(file.old_path) or b"").decode("utf-8", errors="replace"))
    package = file.old_path.removesuffix("/__init__.py").replace("/", ".")
    remaining = exported_names(new)
    for name, module in exported_names(file.old_tree).items():
        if name not in remaining and not module.startswith(("__future__", "typing", "collections")):
            home = f"{module.replace('.', '/')}.py"
            if not _deprecated_in((change.base.read(home) or b"").decode("utf-8", errors="replace"), name):
                message = f"{package}.{name} was removed without a deprecation"
                yield Finding(code="R017", message=message, file=file.old_path, hint=HINT)


def _definitions(file: ChangedFile) -> Iterator[Finding]:
    new_text = (file.change.head.read(file.old_path) or b"").decode("utf-8", errors="replace")
    for name, what, line in _breakages(file, new_text):
        yield Finding(code="R017", message=f"{name} {what}", file=file.old_path, line=line, hint=HINT)


def _signatures_of_exports(change: Change, file: ChangedFile) -> Iterator[Finding]:
    """Parameters of functions and methods that a package hands out from this module."""
    module = file.old_path.removesuffix(".py").replace("/", ".")
    package = f"{file.old_path.rpartition('/')[0]}/__init__.py"
    package_tree = parse((change.head.read(package) or b"").decode("utf-8", errors="replace"))
    handed_out = {name for name, source in exported_names(package_tree).items() if source == module}
    if not handed_out:
        return
    new_text = (change.head.read(file.old_path) or b"").decode("utf-8", errors="replace")
    for name, what, line in _breakages(file, new_text):
        if name.removeprefix(f"{module}.").split(".")[0] in handed_out:
            yield Finding(code="R017", message=f"{name} {what}", file=file.old_path, line=line, hint=HINT)


def _breakages(file: ChangedFile, new_text: str) -> Iterator[tuple[str, str, int]]:
    """Breakages between the two texts of a module, by griffe, without those that were announced."""
    import griffe

    module = file.old_path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    if file.old_tree is None or parse(new_text) is None:
        return
    old = griffe.visit(module, filepath=None, code=file.old_text)  # type: ignore[arg-type]
    new = griffe.visit(module, filepath=None, code=new_text)  # type: ignore[arg-type]
    for breakage in griffe.find_breaking_changes(old, new):
        what = BREAKAGES.get(breakage.kind.name)
        if what is None or breakage.obj.is_alias:
            continue
        path = breakage.obj.path
        name = path.removeprefix(f"{module}.").split("(")[0]
        if any(part.startswith("_") and part != "__init__" for part in name.split(".")):
            continue
        if not _deprecated_in(file.old_text, name.split(".")[-1]):
            line = 0 if breakage.kind.name == "OBJECT_REMOVED" else breakage.obj.lineno or 0
            suffix = " without a deprecation" if not line else ""
            yield f"{module}.{name}" if module not in name else name, what + suffix, line


def _deprecated_in(text: str, name: str) -> bool:
    """Whether the definition of a name says that it is deprecated: its docstring, a decorator or a warning."""
    tree = parse(text)
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, DEFINITIONS) and node.name == name:
            said = " ".join([ast.get_docstring(node) or "", *(ast.unparse(d) for d in node.decorator_list)])
            warned = any(isinstance(n, ast.Name) and n.id.endswith("DeprecationWarning") for n in ast.walk(node))
            return warned or "deprecated" in said.lower()
    return False
