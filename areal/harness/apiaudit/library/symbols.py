# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a chain of names stands for in a release."""

from __future__ import annotations

import ast
import enum
from dataclasses import dataclass, field


class What(enum.Enum):
    """The kinds of a symbol; the last three are answers about our knowledge, not about the release."""

    MODULE = "module"
    CLASS = "class"
    FUNCTION = "function"
    ATTRIBUTE = "attribute"
    INSTANCE = "instance"
    MISSING = "missing"
    EXTERNAL = "external"
    UNKNOWN = "unknown"


CONCRETE = (What.MODULE, What.CLASS, What.FUNCTION, What.ATTRIBUTE, What.INSTANCE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Symbol:
    """A symbol of a release.

    Attributes:
        path: where it is really defined; `module` the module of that place.
        node: the statement that defines it.
        owner: the class it was reached through; `bound` when through an instance (or as a class method).
        note: why it is missing or unknown, or by what detour it was found.
        dynamic: unknown only because a `__getattr__` or the like may supply it at run time.
        also: other definitions of the same name under other conditions.
    """

    what: What
    path: str
    module: str = ""
    node: ast.AST | None = None
    owner: Symbol | None = None
    bound: bool = False
    note: str = ""
    dynamic: bool = False
    also: tuple[Symbol, ...] = field(default=())

    @property
    def is_found(self) -> bool:
        """Whether the release has it for sure."""
        return self.what in CONCRETE

    @property
    def alternatives(self) -> tuple[Symbol, ...]:
        """All definitions of the name."""
        return (self, *self.also)


def missing(path: str, note: str, module: str = "") -> Symbol:
    """The release does not have it."""
    return Symbol(what=What.MISSING, path=path, note=note, module=module)


def unknown(path: str, note: str, *, dynamic: bool = False) -> Symbol:
    """Cannot be decided from the sources."""
    return Symbol(what=What.UNKNOWN, path=path, note=note, dynamic=dynamic)


def external(path: str) -> Symbol:
    """Defined in another distribution."""
    return Symbol(what=What.EXTERNAL, path=path, note="defined in another distribution")
