# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What the audit passes around: one usage of a third-party name at one of our sites, and the conditions around it.

A *chain* is a dotted name in which `()` after a part means "what calling this gives": `pkg.Config.load().size` is the
attribute `size` of whatever `pkg.Config.load` returns; chains with a call in them are *inferred*.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from packaging.version import InvalidVersion, Version


class Kind(str, enum.Enum):
    """How a name is used."""

    IMPORT = "import"
    CALL = "call"
    ATTRIBUTE = "attribute"
    PATCH = "patch"
    OVERRIDE = "override"
    SUBCLASS = "subclass"
    TYPE = "type"
    STRING = "string"
    GUARD = "guard"
    ROUTE = "route"
    FLAG = "flag"


@dataclass(frozen=True, kw_only=True)
class VersionTest:
    """A comparison of a package's version with a literal, as our code writes it; `textual` when it compares strings."""

    package: str
    operator: str
    literal: str
    textual: bool
    negated: bool = False

    def holds_at(self, version: str) -> bool | None:
        """What Python would answer with this version installed; None when either side is no version."""
        if self.textual:
            answer = _compare(version, self.operator, self.literal)
        else:
            try:
                answer = _compare(Version(version), self.operator, Version(self.literal))
            except InvalidVersion:
                return None
        return answer != self.negated

    def __str__(self) -> str:
        shown = f"{self.package}.__version__ {self.operator} {self.literal!r}"
        return f"not ({shown})" if self.negated else shown


def _compare(left: str | Version, operator: str, right: str | Version) -> bool:
    if isinstance(left, str) != isinstance(right, str):
        raise TypeError(f"expected two strings or two versions, got {left!r} and {right!r}")
    answers = {
        ">=": left >= right,  # type: ignore[operator]
        "<=": left <= right,  # type: ignore[operator]
        ">": left > right,  # type: ignore[operator]
        "<": left < right,  # type: ignore[operator]
        "==": left == right,
        "!=": left != right,
    }
    return answers[operator]


@dataclass(frozen=True, kw_only=True)
class CallableShape:
    """The parameters of a function of ours that replaces or overrides one of theirs."""

    positional: tuple[str, ...]
    keyword_only: tuple[str, ...] = ()
    num_defaults: int = 0
    optional_keyword_only: tuple[str, ...] = ()
    takes_args: bool = False
    takes_kwargs: bool = False


@dataclass(frozen=True, kw_only=True)
class Usage:
    """One usage.

    Attributes:
        symbol: chain of the name used; for routes `METHOD /path`, for flags the flag.
        file: path relative to the repository; `qualname` the enclosing functions and classes, `<module>` outside of them.
        line: for reports only; contracts never hold it.
        keywords: names passed by keyword, or the fields of a request.
        open_call: `*args` or `**kwargs` of unknown content are passed too, so required parameters cannot be judged.
        unpacks: number of targets that the result is unpacked into.
        context: `__enter__` or `__aenter__` when the result is what a `with` enters.
        defines: for a subclass of ours that is no abstract class itself, the names its body binds.
        strings: `(keyword, value)` of arguments that are string literals; the keyword of a positional one is its index.
        guarded: inside `try ... except ImportError` or behind an availability test: it may fail without harm.
        tests: version tests that all hold where this usage is executed.
    """

    symbol: str
    kind: Kind
    file: str
    qualname: str
    line: int
    num_positional: int = 0
    keywords: tuple[str, ...] = ()
    open_call: bool = False
    awaited: bool = False
    unpacks: int | None = None
    context: str = ""
    defines: tuple[str, ...] = ()
    strings: tuple[tuple[str, str], ...] = ()
    shape: CallableShape | None = None
    guarded: bool = False
    tests: tuple[VersionTest, ...] = field(default=())

    @property
    def inferred(self) -> bool:
        """Whether the chain goes through the result of a call, so that it depends on annotations."""
        return "()" in self.symbol

    @property
    def site(self) -> str:
        """`file#qualname`, stable under edits elsewhere in the file."""
        return f"{self.file}#{self.qualname}"

    def shape_key(self) -> tuple[object, ...]:
        """All that decides the verdict; equal usages at several sites are judged once."""
        return (
            self.symbol,
            self.kind.value,
            self.num_positional,
            self.keywords,
            self.open_call,
            self.awaited,
            self.unpacks,
            self.context,
            self.defines,
            self.strings,
            self.shape,
            self.guarded,
            self.tests,
        )
