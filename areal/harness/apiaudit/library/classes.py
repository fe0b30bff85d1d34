# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Classes of a release: their bases in the order of look-up, and their members, inherited and assigned ones included."""

from __future__ import annotations

import ast
import builtins
import importlib
import operator
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from areal.harness.apiaudit.bindings import bound_names
from areal.harness.apiaudit.library.symbols import Symbol, What, external, missing, unknown

if TYPE_CHECKING:
    from areal.harness.apiaudit.library.resolver import Library

_IGNORED_BASES = ("object", "Generic", "Protocol", "ABC", "abc.ABC", "typing.Generic", "typing.Protocol")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_PROPERTIES = ("property", "cached_property", "functools.cached_property", "classproperty", "lazy_property")
_TYPE_ATTRIBUTES = frozenset(dir(type))
_OBJECT_ATTRIBUTES = frozenset(dir(object))


class Classes:
    """Answers about classes of one library."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._orders: dict[int, list[Symbol]] = {}
        self._assigned: dict[int, set[str]] = {}

    def order(self, cls: Symbol) -> list[Symbol]:
        """The class and its bases in the order of look-up; bases that we have no sources of are EXTERNAL."""
        key = id(cls.node)
        if key not in self._orders:
            self._orders[key] = [cls]
            found = self._depth_first(cls, set())
            last = {_identity(base): index for index, base in enumerate(found)}
            self._orders[key] = [base for index, base in enumerate(found) if last[_identity(base)] == index]
        return [cls, *self._orders[key][1:]]

    def _depth_first(self, cls: Symbol, above: set[int]) -> list[Symbol]:
        if not isinstance(cls.node, ast.ClassDef) or id(cls.node) in above:
            return [cls]
        found = [cls]
        for expression in cls.node.bases:
            base = expression.value if isinstance(expression, ast.Subscript) else expression
            text = ast.unparse(base)
            if text not in _IGNORED_BASES:
                found += self._depth_first(self._base(cls, text), above | {id(cls.node)})
        return found

    def _base(self, cls: Symbol, text: str) -> Symbol:
        if not text.replace(".", "").replace("_", "").isalnum():
            return external(text)  # a call such as namedtuple(...)
        library = self._library
        found = library.in_module(cls.module, text)
        if found.what is What.CLASS:
            return found
        if found.what is What.MISSING and text in vars(builtins):
            return external(f"builtins.{text}")
        return external(found.path if found.what is What.EXTERNAL else text)

    def member(self, receiver: Symbol, name: str) -> Symbol:
        """A member of a class or of its instances."""
        path = f"{receiver.path}.{name}"
        opaque = ""
        for base in self.order(replace(receiver, what=What.CLASS)):
            if base.what is What.EXTERNAL:
                if _in_standard_library(base.path, name):
                    return Symbol(what=What.ATTRIBUTE, path=f"{base.path}.{name}", note="standard library")
                if not _is_standard(base.path):
                    opaque = opaque or base.path
                continue
            found = self._own_member(base, receiver, name)
            if found is not None:
                return found
        if opaque:
            return unknown(path, f"base {opaque} is in another distribution")
        if name in (_OBJECT_ATTRIBUTES if receiver.what is What.INSTANCE else _TYPE_ATTRIBUTES):
            return Symbol(what=What.ATTRIBUTE, path=path, module=receiver.module)
        if name.startswith("__") and name.endswith("__") and name not in _NEVER_SUPPLIED:
            return unknown(path, "a special attribute that Python may supply")
        reason = self._dynamic_reason(receiver)
        if reason:
            return unknown(path, reason, dynamic=True)
        return missing(path, f"class {receiver.path} has no {name!r}", receiver.module)

    def own_statements(self, cls: Symbol, name: str) -> list[ast.stmt]:
        """The statements of a class's own body that bind a name."""
        return _statements_binding(cls.node, name) if isinstance(cls.node, ast.ClassDef) else []

    def has_own(self, cls: Symbol, name: str) -> bool:
        """Whether the class or a base whose sources we have binds a name."""
        return any(self.own_statements(base, name) for base in self.order(cls))

    def abstract(self, cls: Symbol) -> frozenset[str]:
        """The abstract methods that keep the class from being instantiated; none where bases are elsewhere."""
        order = self.order(cls)
        if any(base.what is What.EXTERNAL and not _is_standard(base.path) for base in order):
            return frozenset()
        nodes = [base.node for base in order if isinstance(base.node, ast.ClassDef)]
        if not any(_is_abstract_base(node) for node in nodes):
            return frozenset()
        names: set[str] = set()
        for node in reversed(nodes):
            for statement in node.body:
                is_abstract = isinstance(statement, _FUNCTIONS) and any(
                    "abstract" in ast.unparse(decorator) for decorator in statement.decorator_list
                )
                bound = set(bound_names(statement))
                names = names | bound if is_abstract else names - bound
        return frozenset(names)

    def _own_member(self, cls: Symbol, receiver: Symbol, name: str) -> Symbol | None:
        node = cls.node
        if not isinstance(node, ast.ClassDef):
            return None
        path = f"{cls.path}.{name}"
        found = _statements_binding(node, name)
        if name == "apply" and any(base.path.endswith("autograd.Function") for base in self.order(cls)):
            found = found or _statements_binding(node, "forward")
        symbols = [self._from_statement(cls, receiver, path, statement) for statement in found]
        if symbols:
            return replace(symbols[-1], also=tuple(symbols[:-1]) if _are_alternatives(found) else ())
        if id(node) not in self._assigned:
            self._assigned[id(node)] = _assigned_attributes(node)
        if name in self._assigned[id(node)]:
            return Symbol(what=What.ATTRIBUTE, path=path, module=cls.module, owner=receiver)
        return None

    def _from_statement(self, cls: Symbol, receiver: Symbol, path: str, statement: ast.stmt) -> Symbol:
        if isinstance(statement, _FUNCTIONS):
            decorators = [ast.unparse(each) for each in statement.decorator_list]
            is_property = any(d in _PROPERTIES or d.endswith((".setter", ".getter")) for d in decorators)
            is_class_method = "classmethod" in decorators or statement.name == "__init_subclass__"
            return Symbol(
                what=What.ATTRIBUTE if is_property else What.FUNCTION,
                path=path,
                module=cls.module,
                node=statement,
                owner=replace(receiver, what=What.CLASS, also=()),
                bound=receiver.what is What.INSTANCE or is_class_method,
                note="property" if is_property else "",
            )
        if isinstance(statement, ast.ClassDef):
            return Symbol(what=What.CLASS, path=path, module=cls.module, node=statement)
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Name):  # method = other_method
            other = self._own_member(cls, receiver, statement.value.id)
            if other is not None and other.what is What.FUNCTION:
                return other
            followed = self._library.in_module(cls.module, statement.value.id)
            if followed.what is What.FUNCTION:
                return replace(followed, owner=receiver, bound=receiver.what is What.INSTANCE)
        return Symbol(what=What.ATTRIBUTE, path=path, module=cls.module, node=statement, owner=receiver)

    def _dynamic_reason(self, receiver: Symbol) -> str:
        for base in self.order(replace(receiver, what=What.CLASS)):
            node = base.node
            if not isinstance(node, ast.ClassDef):
                continue
            for keyword in node.keywords:
                if keyword.arg == "metaclass" and ast.unparse(keyword.value).split(".")[-1] not in _PLAIN_METACLASSES:
                    return f"{base.path} has a metaclass of its own"
            names = {statement.name for statement in node.body if isinstance(statement, _FUNCTIONS)}
            if receiver.what is What.INSTANCE and ("__getattr__" in names or "__getattribute__" in names):
                return f"{base.path} has a __getattr__"
            if receiver.what is What.INSTANCE and _sets_any_attribute(node):
                return f"{base.path} sets attributes by computed names"
        return ""


_NEVER_SUPPLIED = ("__enter__", "__exit__", "__aenter__", "__aexit__", "__call__")
"""Special methods that a class has only if it or a base defines them."""
_PLAIN_METACLASSES = ("ABCMeta", "EnumMeta", "EnumType", "type", "FunctionMeta")


def _is_abstract_base(node: ast.ClassDef) -> bool:
    bases = [ast.unparse(base) for base in node.bases]
    return any(text in ("ABC", "abc.ABC") for text in bases) or any(
        keyword.arg == "metaclass" and "ABCMeta" in ast.unparse(keyword.value) for keyword in node.keywords
    )


def _identity(symbol: Symbol) -> object:
    return id(symbol.node) if symbol.node is not None else symbol.path


def _statements_binding(node: ast.ClassDef, name: str) -> list[ast.stmt]:
    """Statements of a class body, in conditions or not, that bind a name."""
    found: list[ast.stmt] = []
    stack = list(reversed(node.body))
    while stack:
        statement = stack.pop()
        if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
            if statement.name == name:
                found.append(statement)
        elif isinstance(statement, ast.Assign):
            flat = [e for t in statement.targets for e in (t.elts if isinstance(t, ast.Tuple) else [t])]
            if any(isinstance(target, ast.Name) and target.id == name for target in flat):
                found.append(statement)
        elif isinstance(statement, ast.AnnAssign):
            if isinstance(statement.target, ast.Name) and statement.target.id == name:
                found.append(statement)
        elif isinstance(statement, ast.If):
            stack += reversed([*statement.body, *statement.orelse])
        elif isinstance(statement, ast.Try):
            stack += reversed([*statement.body, *(s for h in statement.handlers for s in h.body), *statement.orelse])
        elif isinstance(statement, ast.With | ast.For):
            stack += reversed(statement.body)
    return found


def _are_alternatives(found: list[ast.stmt]) -> bool:
    """Whether several definitions are overloads or conditional ones, rather than a property and its setter."""
    return not any(
        isinstance(statement, _FUNCTIONS) and any(ast.unparse(d).endswith(".setter") for d in statement.decorator_list)
        for statement in found
    )


def _assigned_attributes(node: ast.ClassDef) -> set[str]:
    """Attributes stored on `self` or `cls` anywhere in the class, and names in `__slots__`."""
    names: set[str] = set()
    for child in ast.walk(node):
        if (
            isinstance(child, ast.Attribute)
            and isinstance(child.ctx, ast.Store)
            and isinstance(child.value, ast.Name)
            and child.value.id in ("self", "cls", "obj", "instance")
        ):
            names.add(child.attr)
        if isinstance(child, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "__slots__" for t in child.targets
        ):
            names |= {
                e.value for e in ast.walk(child.value) if isinstance(e, ast.Constant) and isinstance(e.value, str)
            }
        if (
            isinstance(child, ast.Call)
            and isinstance(child.func, ast.Attribute)
            and child.func.attr == "register_buffer"
        ):
            names |= {a.value for a in child.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    return names


def _sets_any_attribute(node: ast.ClassDef) -> bool:
    """`setattr(self, name, value)` or `self.__dict__.update(...)` with names that the sources do not show."""
    for child in ast.walk(node):
        if isinstance(child, ast.Call):
            text = ast.unparse(child.func)
            sets = text in ("setattr", "object.__setattr__") and len(child.args) == 3
            if sets and isinstance(child.args[0], ast.Name) and not isinstance(child.args[1], ast.Constant):
                return True
            if text.endswith("__dict__.update"):
                return True
    return False


def _is_standard(path: str) -> bool:
    return path.split(".")[0] in sys.stdlib_module_names


def _in_standard_library(path: str, name: str) -> bool:
    """Whether a class of the standard library, which this process may import, has the member."""
    module, _, cls = path.rpartition(".")
    if not module or not _is_standard(path):
        return False
    try:
        return name in dir(operator.attrgetter(cls)(importlib.import_module(module)))
    except (ImportError, AttributeError):
        return False
