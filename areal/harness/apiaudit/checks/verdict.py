# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The verdict on one usage at one release: fine, problems with stable codes, or undecided with the reason."""

from __future__ import annotations

from dataclasses import dataclass, field

BREAKING, WARNING, NOTE = "breaking", "warning", "note"

CODES = {
    "SYMBOL_REMOVED": "a module no longer has the name",
    "MEMBER_REMOVED": "a class no longer has the attribute or method",
    "OVERRIDE_GONE": "the base class no longer has the method that ours overrides",
    "KIND_CHANGED": "it is something else now, such as a function in place of a class, or a property in place of a method",
    "ABSTRACT_METHOD": "we make an instance of an abstract class, or our subclass lacks a method that is abstract now",
    "CONTEXT_CHANGED": "`with` cannot enter the result any more",
    "NOW_RAISES": "the body is gone, all it does is raise",
    "READ_ONLY": "we assign an attribute that cannot be assigned",
    "PARAM_REMOVED": "we pass a keyword that is not accepted any more",
    "PARAM_TWICE": "a keyword of ours is also filled by a positional argument",
    "PARAM_NEW_REQUIRED": "a parameter that we do not pass is required",
    "TOO_MANY_POSITIONAL": "we pass more positional arguments than are taken",
    "PARAM_REORDERED": "a positional argument of ours now fills another parameter",
    "KWARG_SWALLOWED": "a keyword of ours falls into **kwargs where nothing reads it",
    "LITERAL_REMOVED": "a string that we pass is not among the allowed ones",
    "RETURN_ARITY": "the result has another number of values than we unpack",
    "ASYNC_CHANGED": "it became (or is no longer) a coroutine",
    "PATCH_INEFFECTIVE": "the name that we assign is only a re-export that nothing reads",
    "PATCH_SIGNATURE": "our replacement or override does not take what callers pass",
    "ROUTE_REMOVED": "the server has no such route",
    "FIELD_REMOVED": "the route does not know a field that we send",
    "FLAG_REMOVED": "the server has no such flag",
    "DEFAULT_CHANGED": "a default that we rely on changed",
    "PARAM_DEPRECATED": "a keyword of ours is accepted under its old name only",
    "STALE_GUARD": "the import behind a guard can no longer succeed",
    "GUARD_STRING_COMPARISON": "a version is compared as a string",
    "GUARD_DEAD": "a version test has the same answer before and after",
}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong; `key` tells problems with the same code apart (the parameter, the field)."""

    code: str
    message: str
    key: str = ""
    severity: str = BREAKING
    similar: tuple[str, ...] = ()
    moved_to: tuple[str, ...] = ()
    signature: str | None = None
    certain: bool = True

    @property
    def identity(self) -> tuple[str, str]:
        """Equal for the same problem at another release."""
        return self.code, self.key


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is known about a usage; `undecided` is the reason why nothing can be said.

    `dynamic`: undecided because something made at run time may supply the name; `path` is where the name is defined.
    """

    problems: tuple[Problem, ...] = field(default=())
    undecided: str = ""
    dynamic: bool = False
    path: str = ""
    signature: str | None = None
    doubts: tuple[str, ...] = ()

    @property
    def is_fine(self) -> bool:
        """Decided, and nothing found."""
        return not self.problems and not self.undecided
