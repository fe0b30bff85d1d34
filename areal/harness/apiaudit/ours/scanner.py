# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Finds every usage of third-party packages in one of our files, without importing anything.

Called by `discovery.py` file by file. Each node is visited once, with the scope it is evaluated in and the conditions
around it; what a node uses is told by the functions of `usages_of.py`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from areal.harness.apiaudit.ours.chains import Chains
from areal.harness.apiaudit.ours.scopes import SCOPED, Bound, Scope, build_scopes, parts
from areal.harness.apiaudit.ours.version_tests import catches_missing, negated, tests_presence, version_tests
from areal.harness.apiaudit.usage import VersionTest


@dataclass(frozen=True)
class Place:
    """Where a node is evaluated: its scope, its parents (nearest last), and what is known to hold there."""

    scope: Scope
    parents: tuple[ast.AST, ...] = ()
    guarded: bool = False
    tests: tuple[VersionTest, ...] = ()

    def parent(self, levels: int = 1) -> ast.AST | None:
        """The node around, `levels` up."""
        return self.parents[-levels] if len(self.parents) >= levels else None


class FileScan:
    """One parsed file: iterates over `(node, place)`."""

    def __init__(self, tree: ast.Module, file: str, is_third_party: Callable[[str], bool]) -> None:
        self.tree = tree
        self.file = file
        self.chains = Chains(is_third_party)
        self._scopes = build_scopes(tree)

    @property
    def module_scope(self) -> Scope:
        """The scope of the file itself."""
        return self._scopes[self.tree]

    def visit(self) -> Iterator[tuple[ast.AST, Place]]:
        """Every node with its place, in the order of the source."""
        stack: list[tuple[ast.AST, Place]] = [(self.tree, Place(self.module_scope))]
        while stack:
            node, place = stack.pop()
            yield node, place
            stack += reversed(list(self._below(node, place)))

    def _below(self, node: ast.AST, place: Place) -> Iterator[tuple[ast.AST, Place]]:
        parents = (*place.parents[-3:], node)
        outside = Place(place.scope, parents, place.guarded, place.tests)
        inside = outside
        if isinstance(node, SCOPED):
            inside = Place(self._scopes[node], parents, place.guarded, place.tests)
        held = self._held_in_branches(node, place)
        for child, is_inner in parts(node):
            child_place = inside if is_inner else outside
            if id(child) in held:
                guarded, tests = held[id(child)]
                known = tuple(dict.fromkeys((*place.tests, *tests)))
                child_place = replace(child_place, guarded=place.guarded or guarded, tests=known)
            yield child, child_place

    def _held_in_branches(self, node: ast.AST, place: Place) -> dict[int, tuple[bool, list[VersionTest]]]:
        """For the children of an `if` or `try`: whether they are guarded, and the version tests that hold in them."""
        if isinstance(node, ast.Try) and catches_missing(node):
            return {id(child): (True, []) for child in node.body}
        if isinstance(node, ast.If | ast.IfExp):
            body = node.body if isinstance(node.body, list) else [node.body]
            orelse = node.orelse if isinstance(node.orelse, list) else [node.orelse]
            tests = self.tests_of(node.test, place.scope)
            guarded = not tests and tests_presence(node.test)
            held = {id(child): (guarded, tests) for child in body}
            return held | {id(child): (guarded, negated(tests)) for child in orelse}
        return {}

    def tests_of(self, condition: ast.expr, scope: Scope) -> list[VersionTest]:
        """Version tests that hold where `condition` is true."""

        def definition(name: str) -> ast.expr | None:
            found = scope.lookup(name)
            if found is None or len(found[1]) != 1 or found[1][0].how is not Bound.VALUE:
                return None
            node = found[1][0].node
            return node if isinstance(node, ast.expr) else None

        return version_tests(condition, lambda node: self.chains.of(node, scope), definition)
