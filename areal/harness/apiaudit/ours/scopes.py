# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Scopes of one of our files: what each name is bound to, by Python's rules, so that shadowed names are not mistaken.

Built once a file by `build_scopes`; `chains.py` evaluates the bindings.
"""

from __future__ import annotations

import ast
import enum
from collections.abc import Iterator
from dataclasses import dataclass, field

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
SCOPED = (*FUNCTIONS, ast.Lambda, ast.ClassDef, *COMPREHENSIONS)


class Bound(enum.Enum):
    """How a name got its value."""

    IMPORT = enum.auto()
    VALUE = enum.auto()
    ANNOTATION = enum.auto()
    ENTERED = enum.auto()
    DEFINITION = enum.auto()
    OPAQUE = enum.auto()


@dataclass(frozen=True)
class Binding:
    """One binding: the dotted target of an import, or the expression, annotation or definition that was bound.

    For what a `with` binds, `target` is the method that enters.
    """

    how: Bound
    target: str = ""
    node: ast.AST | None = None


@dataclass(eq=False)
class Scope:
    """Names bound in a module, class, function, lambda or comprehension; `attributes` are those assigned on `self`."""

    node: ast.AST
    parent: Scope | None
    name: str
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    attributes: dict[str, list[Binding]] = field(default_factory=dict)

    @property
    def is_class(self) -> bool:
        """Class bodies are skipped when a name is looked up from a function inside."""
        return isinstance(self.node, ast.ClassDef)

    @property
    def qualname(self) -> str:
        """`Class.method` of the functions and classes around; `<module>` at the top."""
        names, scope = [], self
        while scope is not None:
            if scope.name:
                names.append(scope.name)
            scope = scope.parent
        return ".".join(reversed(names)) or "<module>"

    def bind(self, name: str, binding: Binding) -> None:
        """Add a binding of a name in this scope."""
        self.bindings.setdefault(name, []).append(binding)

    def lookup(self, name: str) -> tuple[Scope, list[Binding]] | None:
        """The scope that binds a name and its bindings there; None for builtins and what we do not follow."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.bindings and (scope is self or not scope.is_class):
                return scope, scope.bindings[name]
            scope = scope.parent
        return None

    def enclosing_class(self) -> Scope | None:
        """The class whose method (or a function nested in it) this scope is."""
        scope: Scope | None = self
        while scope is not None and not scope.is_class:
            scope = scope.parent
        return scope


def build_scopes(tree: ast.Module) -> dict[ast.AST, Scope]:
    """The scope of each node that has one; the module itself included."""
    scopes: dict[ast.AST, Scope] = {}
    module = Scope(tree, None, "")
    scopes[tree] = module
    _fill(tree, module, scopes)
    return scopes


def _fill(node: ast.AST, scope: Scope, scopes: dict[ast.AST, Scope]) -> None:
    for child, is_inner in parts(node):
        own = scopes[node] if is_inner else scope
        _bind_statement(child, own)
        if isinstance(child, SCOPED):
            inner = Scope(child, own, child.name if isinstance(child, (*FUNCTIONS, ast.ClassDef)) else "")
            scopes[child] = inner
            _bind_parameters(child, inner)
        _fill(child, own, scopes)


def parts(node: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """Children of a node, and whether each is evaluated in the node's own scope (a body) or in the one around (a default)."""
    if not isinstance(node, SCOPED):
        yield from ((child, False) for child in ast.iter_child_nodes(node))
        return
    inside: tuple[ast.AST, ...]
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        inside = tuple(node.body)
    elif isinstance(node, ast.Lambda):
        inside = (node.body,)
    else:
        inside = tuple(ast.iter_child_nodes(node))
    inner = set(map(id, inside))
    yield from ((child, id(child) in inner) for child in ast.iter_child_nodes(node))


def _bind_parameters(node: ast.AST, scope: Scope) -> None:
    if isinstance(node, (*FUNCTIONS, ast.Lambda)):
        arguments = node.args
        for arg in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            how = Bound.OPAQUE if arg.annotation is None else Bound.ANNOTATION
            scope.bind(arg.arg, Binding(how, node=arg.annotation))
        for arg in (arguments.vararg, arguments.kwarg):
            if arg is not None:
                scope.bind(arg.arg, Binding(Bound.OPAQUE))
    elif isinstance(node, COMPREHENSIONS):
        for generator in node.generators:
            _bind_target(generator.target, None, scope)


def _bind_statement(node: ast.AST, scope: Scope) -> None:
    if isinstance(node, ast.Import):
        for name in node.names:
            top = name.name.split(".")[0]
            scope.bind(name.asname or top, Binding(Bound.IMPORT, name.name if name.asname else top))
    elif isinstance(node, ast.ImportFrom):
        prefix = "." * node.level + (node.module or "")
        for name in node.names:
            scope.bind(name.asname or name.name, Binding(Bound.IMPORT, f"{prefix}.{name.name}"))
    elif isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        scope.bind(node.name, Binding(Bound.DEFINITION, node=node))
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            _bind_target(target, node.value, scope)
    elif isinstance(node, ast.AnnAssign):
        _bind_annotated(node, scope)
    elif isinstance(node, ast.NamedExpr):
        _bind_target(node.target, node.value, scope)
    elif isinstance(node, ast.For | ast.AsyncFor | ast.AugAssign):
        _bind_target(node.target, None, scope)
    elif isinstance(node, ast.With | ast.AsyncWith):
        method = "__enter__" if isinstance(node, ast.With) else "__aenter__"
        for item in node.items:
            if isinstance(item.optional_vars, ast.Name):
                scope.bind(item.optional_vars.id, Binding(Bound.ENTERED, method, item.context_expr))
            elif item.optional_vars is not None:
                _bind_target(item.optional_vars, None, scope)
    elif isinstance(node, ast.ExceptHandler) and node.name:
        scope.bind(node.name, Binding(Bound.OPAQUE))


def _bind_annotated(node: ast.AnnAssign, scope: Scope) -> None:
    binding = Binding(Bound.ANNOTATION, node=node.annotation)
    if isinstance(node.target, ast.Name):
        scope.bind(node.target.id, binding)
    elif _is_self_attribute(node.target) and (owner := scope.enclosing_class()) is not None:
        owner.attributes.setdefault(node.target.attr, []).append(binding)


def _bind_target(target: ast.expr, value: ast.expr | None, scope: Scope) -> None:
    if isinstance(target, ast.Name):
        scope.bind(target.id, Binding(Bound.OPAQUE) if value is None else Binding(Bound.VALUE, node=value))
    elif isinstance(target, ast.Tuple | ast.List):
        for element in target.elts:
            _bind_target(element, None, scope)
    elif isinstance(target, ast.Starred):
        _bind_target(target.value, None, scope)
    elif _is_self_attribute(target) and (owner := scope.enclosing_class()) is not None:
        binding = Binding(Bound.OPAQUE) if value is None else Binding(Bound.VALUE, node=value)
        owner.attributes.setdefault(target.attr, []).append(binding)


def _is_self_attribute(target: ast.expr) -> bool:
    return isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self"
