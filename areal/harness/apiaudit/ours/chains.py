# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluates expressions of ours to chains of third-party names, through imports, assignments and annotations.

Gives None wherever a name may be something else: a shadowed import, a variable with two kinds of values.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from areal.harness.apiaudit.ours.scopes import FUNCTIONS, Binding, Bound, Scope

_MAX_DEPTH = 12
"""Steps through assignments; deeper is a cycle such as `x = x.next`."""


class Chains:
    """Chains within one file; `is_third_party` says which absolute names count."""

    def __init__(self, is_third_party: Callable[[str], bool]) -> None:
        self.is_third_party = is_third_party

    def of(self, node: ast.AST | None, scope: Scope, depth: int = 0) -> str | None:
        """The chain that an expression evaluates to."""
        if depth > _MAX_DEPTH:
            return None
        if isinstance(node, ast.Name):
            return self._of_name(node.id, scope, depth)
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                return self._of_own_attribute(node.attr, node.value.id, scope, depth)
            base = self.of(node.value, scope, depth + 1)
            return f"{base}.{node.attr}" if base else None
        if isinstance(node, ast.Call):
            called = self.of(node.func, scope, depth + 1) or self._of_own_result(node.func, scope, depth)
            return f"{called}()" if called else None
        if isinstance(node, ast.Await):
            return self.of(node.value, scope, depth + 1)
        if isinstance(node, ast.NamedExpr):
            return self.of(node.value, scope, depth + 1)
        return None

    def of_annotation(self, node: ast.AST | None, scope: Scope) -> str | None:
        """The chain of the class that an annotation names; None for unions of several, containers and our own classes."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                node = ast.parse(node.value, mode="eval").body
            except SyntaxError:
                return None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            sides = [side for side in (node.left, node.right) if not _is_none(side)]
            return self.of_annotation(sides[0], scope) if len(sides) == 1 else None
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).split(".")[-1] == "Optional":
            return self.of_annotation(node.slice, scope)
        chain = self.of(node, scope) if isinstance(node, ast.Name | ast.Attribute) else None
        return None if chain is None or "()" in chain else chain

    def bases(self, node: ast.ClassDef, scope: Scope, depth: int = 0) -> list[str | None]:
        """The chains of a class's bases, through classes of ours in the same file; None for a base we cannot follow."""
        found: list[str | None] = []
        for base in node.bases:
            expression = base.value if isinstance(base, ast.Subscript) else base
            chain = self.of(expression, scope)
            local = _definition(expression, scope)
            if chain is None and isinstance(local, ast.ClassDef) and depth < _MAX_DEPTH and local is not node:
                found += self.bases(local, scope, depth + 1)
            else:
                found.append(chain)
        return found

    def _of_name(self, name: str, scope: Scope, depth: int) -> str | None:
        found = scope.lookup(name)
        if found is None:
            return None
        owner, bindings = found
        chains = {self._of_binding(binding, owner, depth) for binding in bindings if not _is_fallback(binding)}
        return chains.pop() if len(chains) == 1 else None

    def _of_binding(self, binding: Binding, scope: Scope, depth: int) -> str | None:
        if binding.how is Bound.IMPORT:
            return binding.target if self.is_third_party(binding.target) else None
        if binding.how is Bound.ANNOTATION:
            chain = self.of_annotation(binding.node, scope)
            return f"{chain}()" if chain else None
        if binding.how is Bound.VALUE:
            return self.of(binding.node, scope, depth + 1)
        if binding.how is Bound.ENTERED:
            chain = self.of(binding.node, scope, depth + 1)
            return f"{chain}.{binding.target}()" if chain else None
        return None

    def _of_own_attribute(self, attribute: str, receiver: str, scope: Scope, depth: int) -> str | None:
        owner = scope.enclosing_class()
        if owner is None or not isinstance(owner.node, ast.ClassDef):
            return None
        bound = owner.attributes.get(attribute, []) + owner.bindings.get(attribute, [])
        if bound:
            chains = {self._of_binding(binding, owner, depth) for binding in bound if not _is_fallback(binding)}
            return chains.pop() if len(chains) == 1 else None
        outer = owner.parent or owner
        bases = self.bases(owner.node, outer)
        if len(owner.node.bases) != 1 or len(bases) != 1 or bases[0] is None or self._inherits_own(owner.node, outer):
            return None
        return f"{bases[0]}{'()' if receiver == 'self' else ''}.{attribute}"

    def _inherits_own(self, node: ast.ClassDef, scope: Scope) -> bool:
        """Whether a class has a base of ours, which may define any attribute."""
        return any(isinstance(_definition(base, scope), ast.ClassDef) for base in node.bases)

    def _of_own_result(self, function: ast.expr, scope: Scope, depth: int) -> str | None:
        """The class that a function of ours in this file is annotated to return."""
        local = _definition(function, scope)
        if isinstance(local, FUNCTIONS) and local.returns is not None and not isinstance(local, ast.AsyncFunctionDef):
            return self.of_annotation(local.returns, scope)
        return None


def _definition(node: ast.expr, scope: Scope) -> ast.AST | None:
    if not isinstance(node, ast.Name):
        return None
    found = scope.lookup(node.id)
    if found is None or len(found[1]) != 1 or found[1][0].how is not Bound.DEFINITION:
        return None
    return found[1][0].node


def _is_none(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_fallback(binding: Binding) -> bool:
    """`X = None` after `except ImportError`: says nothing about what X is where it is used."""
    return binding.how is Bound.VALUE and _is_none(binding.node)
