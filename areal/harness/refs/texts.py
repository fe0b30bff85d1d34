# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a text names: inline code, links, shell lines, Python imports, strings of a YAML file; each with its line.

An illustration that need not exist is a fenced block tagged `example`, or inline code followed by `{.example}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from areal.harness.core.documents import FRONT_MATTER, SAFE_LOADER

FENCE = re.compile(r"^\s*(`{3,}|~{3,})\s*(.*)$")
INLINE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)(\{\.example\})?")
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
SHELLS = {"bash", "sh", "shell", "console", "zsh"}
SENTENCE_NAME = re.compile(
    r"`(?P<after>[a-z0-9]+(?:-[a-z0-9]+)*)`\s+(?P<kind_after>skill|expert|rule)s?\b"
    r"|\b(?P<kind_before>skill|expert|rule)s?\s+`(?P<before>[a-z0-9]+(?:-[a-z0-9]+)*)`"
)
LINE_NUMBER = re.compile(r"\b[Ll]ines?\s+\d+|\.(?:py|md|ya?ml|toml):\d+\b|(?<![\w#])L\d+\b")


@dataclass(frozen=True)
class Mention:
    """One thing that a text names: its kind (code, link, shell, python, value, skill, expert, rule, line_number)."""

    kind: str
    text: str
    line: int


def mentions(path: str, text: str) -> Iterator[Mention]:
    """Everything that a Markdown or YAML text names, in order."""
    if path.endswith((".yaml", ".yml")):
        yield from _yaml_mentions(text)
        return
    match = FRONT_MATTER.match(text)
    if match:
        yield from _yaml_mentions(match.group(1) or "", first_line=2)
    start = match.end() if match else 0
    yield from _markdown_mentions(text[start:], text[:start].count("\n") + 1)


def _markdown_mentions(text: str, first_line: int) -> Iterator[Mention]:
    fence, language, joined = "", "", ""
    for number, line in enumerate(text.splitlines(), first_line):
        match = FENCE.match(line)
        if match and not fence:
            fence, language = match.group(1), match.group(2).strip().lower()
        elif match and match.group(1).startswith(fence) and not match.group(2).strip():
            fence = ""
        elif not fence:
            yield from _prose_mentions(line, number)
        elif "example" not in language.split():
            kind = language.split(" ")[0]
            if kind in SHELLS:
                joined += line
                if joined.endswith("\\"):
                    joined = joined[:-1] + " "
                    continue
                yield Mention("shell", joined.strip(), number)
                joined = ""
            elif kind in ("python", "py"):
                yield Mention("python", line.strip(), number)


def _prose_mentions(line: str, number: int) -> Iterator[Mention]:
    for match in INLINE.finditer(line):
        if not match.group(3):
            yield Mention("code", match.group(2).strip(), number)
    without_code = INLINE.sub(lambda match: "``" if match.group(3) else match.group(0), line)
    for match in LINK.finditer(without_code):
        yield Mention("link", match.group(1), number)
    for match in SENTENCE_NAME.finditer(without_code):
        kind = match["kind_after"] or match["kind_before"]
        yield Mention(kind, match["after"] or match["before"], number)
    for match in LINE_NUMBER.finditer(without_code):
        yield Mention("line_number", match.group(0), number)


def _yaml_mentions(text: str, first_line: int = 1) -> Iterator[Mention]:
    try:
        node = yaml.compose(text, Loader=SAFE_LOADER)
    except yaml.YAMLError:
        return  # the schema check reports it
    yield from _node_mentions(node, "", first_line)


def _node_mentions(node: yaml.Node | None, key: str, first_line: int) -> Iterator[Mention]:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from _node_mentions(value, str(name.value), first_line)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from _node_mentions(child, key, first_line)
    elif isinstance(node, yaml.ScalarNode):
        line = first_line + node.start_mark.line
        if key == "run":
            yield Mention("shell", node.value, line)
        elif key in ("expert", "experts"):
            yield Mention("expert", node.value, line)
        elif key in ("skill", "skills"):
            yield Mention("skill", node.value, line)
        elif " " not in node.value:
            yield Mention("value", node.value, line)
        else:
            yield from (
                Mention("code", match.group(2), line) for match in INLINE.finditer(node.value) if not match.group(3)
            )
