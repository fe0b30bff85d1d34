# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The structure of a Markdown page, as far as an original and its translation must have it in common.

Read by docs sync, the link check and the review; made from the text by expressions, so that nothing needs installing.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

GENERATED = re.compile(r"\s*<!--\s*generated\b", re.IGNORECASE)
STAMP = re.compile(r"<!--\s*sync:\s*en=([0-9a-f]{40})\s*-->\s*")
FENCE = re.compile(
    r"^(?P<indent>[ \t]*)(?P<mark>`{3,}|~{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^[ \t]*(?P=mark)[`~]*[ \t]*$",
    re.DOTALL | re.MULTILINE,
)
HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
LINK = re.compile(
    r"!?\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target><[^>]*>|[^()\s]+(?:\([^()]*\))?)(?:\s+\"[^\"]*\")?\)"
)
INLINE_CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
DISPLAY_MATH = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
INLINE_MATH = re.compile(r"(?<![\\$\w])\$(?!\s|\d+(?:[.,]\d+)?\s)([^$\n]+?)(?<![\s\\])\$(?![\w$])")
LIST_ITEM = re.compile(r"^([ \t]*)(?:[-*+]|\d+[.)])[ \t]+\S", re.MULTILINE)
MIN_SENTENCE = 40
"""Shorter prose may be the same in both languages: names, commands."""
TABLE_RULE = re.compile(r"^\s*\|?(?:\s*:?-{1,}:?\s*\|)+(?:\s*:?-+:?\s*)?\|?\s*$", re.MULTILINE)


def stamp_of(text: str) -> str | None:
    """The blob of the original that a translation says it translates."""
    match = STAMP.search(text)
    return match[1] if match else None


@dataclass(frozen=True)
class Heading:
    """A heading: its level, its text without marks, its line."""

    level: int
    text: str
    line: int


@dataclass(frozen=True)
class Piece:
    """A piece of a page that is compared as it is: a code block, a formula, a link's target; with its line."""

    text: str
    line: int


@dataclass(frozen=True)
class Page:
    """What the checks need of one page."""

    text: str

    @property
    def is_generated(self) -> bool:
        """Whether a program writes the page, as the comment that it begins with says."""
        return GENERATED.match(self.text) is not None

    @functools.cached_property
    def prose(self) -> str:
        """The text with code blocks and comments blanked out, line for line."""
        without = FENCE.sub(lambda match: re.sub(r"[^\n]", "", match[0]), self.text)
        return re.sub(r"<!--.*?-->", lambda match: re.sub(r"[^\n]", " ", match[0]), without, flags=re.DOTALL)

    @functools.cached_property
    def plain(self) -> str:
        """The prose with inline code and mathematics blanked out too."""
        blank = functools.partial(re.sub, r"[^\n]", " ")
        text = INLINE_CODE.sub(lambda match: blank(match[0]), self.prose)
        return INLINE_MATH.sub(lambda m: blank(m[0]), DISPLAY_MATH.sub(lambda m: blank(m[0]), text))

    @functools.cached_property
    def headings(self) -> tuple[Heading, ...]:
        """Headings in order."""
        return tuple(Heading(len(m[1]), m[2], self._line(m.start())) for m in HEADING.finditer(self.prose))

    @functools.cached_property
    def code_blocks(self) -> tuple[Piece, ...]:
        """Fenced blocks with their language; the indentation of the fence does not count."""
        found = []
        for match in FENCE.finditer(self.text):
            indent = match["indent"]
            lines = [line.removeprefix(indent) for line in match["body"].splitlines()]
            found.append(Piece("\n".join([match["info"].strip(), *lines]), self._line(match.start())))
        return tuple(found)

    @functools.cached_property
    def inline_code(self) -> tuple[Piece, ...]:
        """Inline code."""
        matches = INLINE_CODE.finditer(self.prose)
        return tuple(Piece(" ".join(match[2].split()), self._line(match.start())) for match in matches)

    @functools.cached_property
    def math(self) -> tuple[Piece, ...]:
        """Formulas, byte for byte."""
        text = INLINE_CODE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), self.prose)
        display = [(match.start(), match[0]) for match in DISPLAY_MATH.finditer(text)]
        rest = DISPLAY_MATH.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
        inline = [(match.start(), match[0]) for match in INLINE_MATH.finditer(rest)]
        return tuple(Piece(formula, self._line(start)) for start, formula in sorted(display + inline))

    @functools.cached_property
    def links(self) -> tuple[Piece, ...]:
        """Targets of links and images."""
        text = INLINE_CODE.sub(lambda match: "x" * len(match[0]), self.prose)
        return tuple(Piece(m["target"].strip("<>"), self._line(m.start("target"))) for m in LINK.finditer(text))

    @functools.cached_property
    def tables(self) -> tuple[Piece, ...]:
        """The number of columns of each table, and of its rows."""
        lines = self.plain.splitlines()
        found = []
        for number, line in enumerate(lines):
            if TABLE_RULE.match(line) and number and "|" in lines[number - 1]:
                rows = 0
                while number + 1 + rows < len(lines) and "|" in lines[number + 1 + rows]:
                    rows += 1
                columns = _columns(line)
                ragged = sum(_columns(each) != columns for each in lines[number - 1 : number + 1 + rows])
                more = f", {ragged} with other columns" if ragged else ""
                found.append(Piece(f"{columns} columns, {rows} rows{more}", number + 1))
        return tuple(found)

    @functools.cached_property
    def list_items(self) -> tuple[Piece, ...]:
        """The depth of each item of a list."""
        return tuple(Piece(str(len(m[1])), self._line(m.start())) for m in LIST_ITEM.finditer(self.plain))

    @functools.cached_property
    def paragraphs(self) -> tuple[Piece, ...]:
        """Blocks of prose of a sentence or more, code and mathematics blanked out."""
        found, start = [], 0
        for block in re.split(r"\n\s*\n", self.plain):
            place = self.plain.index(block, start)
            start = place + len(block)
            text = " ".join(block.split())
            if len(text) >= MIN_SENTENCE and "|" not in text and not text.startswith("#"):
                found.append(Piece(text, self._line(place + len(block) - len(block.lstrip()))))
        return tuple(found)

    @functools.cached_property
    def anchors(self) -> frozenset[str]:
        """The anchors of headings, as GitHub and the built site name them, and explicit ones."""
        explicit = re.findall(r"<a\s+(?:id|name)=\"([^\"]+)\"", self.prose)
        seen: dict[str, int] = {}
        names = set(explicit)
        for heading in self.headings:
            name = slug(heading.text)
            names.add(name if name not in seen else f"{name}-{seen[name]}")
            seen[name] = seen.get(name, 0) + 1
        return frozenset(names)

    def _line(self, offset: int) -> int:
        return self.text.count("\n", 0, offset) + 1


def _columns(row: str) -> int:
    return row.replace("\\|", "").strip().strip("|").count("|") + 1


def slug(heading: str) -> str:
    """The anchor of a heading: lower case, words joined by hyphens, marks gone; letters of any script stay."""
    text = LINK.sub(lambda match: match["text"], heading).lower()
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", text).strip())
