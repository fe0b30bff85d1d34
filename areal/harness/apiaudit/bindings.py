# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The names that a statement binds, for readers of our sources and of releases.

Imports nothing but `ast`: `areal harness check` reads contracts in the environment of a hook, which has no griffe.
"""

from __future__ import annotations

import ast


def bound_names(node: ast.stmt) -> list[str]:
    """The names that one statement binds where it stands; `*` for a star import."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import):
        return [alias.asname or alias.name.split(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign | ast.For):
        targets = [node.target]
    flat = [e for target in targets for e in (target.elts if isinstance(target, ast.Tuple | ast.List) else [target])]
    return [target.id for target in flat if isinstance(target, ast.Name)]
