# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the symbols (H021) and identifiers that a text names exist.

A dotted name that starts with one of our packages is resolved to its definition, a member of one of our classes too; any other
identifier must occur somewhere in code or configuration, or among `known_words` of `.agents/harness.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from areal.harness.core.findings import Finding, Fix
from areal.harness.refs.facts import Facts

DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+\Z")
IDENTIFIER = re.compile(
    r"(?:_*[A-Za-z][A-Za-z0-9]*(?:_+[A-Za-z0-9]+)+_*|__[a-z]+__"  # words joined by underscores
    r"|[A-Z][a-z0-9]+(?:[A-Z]\w*)+|[A-Z]{2,}[a-z]\w*)\Z"  # CamelCase
)
CALL = re.compile(r"(?P<name>[A-Za-z_][\w.]*)\(.*\)\Z", re.DOTALL)
SETTING = re.compile(r"\+{0,2}(?P<key>[a-z_]\w*(?:\.\w+)+)=\S*\Z")
IMPORT = re.compile(r"(?:from\s+(?P<home>[\w.]+)\s+import\s+(?P<names>[\w, ()]+)|import\s+(?P<module>[\w.]+))")


def check_identifier(token: str, base: str, facts: Facts) -> Iterator[Finding]:
    """Findings for an inline code token that is a symbol, an identifier, a call or a setting."""
    call, setting = CALL.match(token), SETTING.match(token)
    if setting:
        token = setting["key"]
    elif call:
        token = call["name"]
    if DOTTED.match(token):
        yield from _check_dotted(token, base, facts)
    elif IDENTIFIER.match(token) or (call and token.isidentifier()):
        yield from _check_words([token], token, base, facts)


def _check_dotted(dotted: str, base: str, facts: Facts) -> Iterator[Finding]:
    parts = dotted.split(".")
    if parts[0] in facts.symbols.top_packages:
        yield from check_symbol(dotted, base, facts)
        return
    if parts[0][:1].isupper():
        homes = facts.symbols.homes(parts[0])
        paths = [path for path in map(facts.symbols.module_file, homes) if path]
        if paths and not any(facts.symbols.in_file(path, parts) for path in paths):
            yield Finding(
                code="H021", message=f"{parts[0]} of {', '.join(homes)} has no {'.'.join(parts[1:])}", file=base
            )
            return
    yield from _check_words([part for part in parts if len(part) > 1], dotted, base, facts)


def check_symbol(dotted: str, base: str, facts: Facts) -> Iterator[Finding]:
    """A finding when one of our dotted names does not exist, with where the name is defined now."""
    if facts.symbols.exists(dotted):
        return
    last = dotted.rpartition(".")[2]
    homes = facts.symbols.homes(last)
    fix = Fix(kind="replace", old=dotted, new=f"{homes[0]}.{last}") if len(homes) == 1 else None
    where = f"; defined in {', '.join(homes)}" if homes else ""
    yield Finding(code="H021", message=f"{dotted} not found{where}", file=base, fix=fix)


def _check_words(words: list[str], shown: str, base: str, facts: Facts) -> Iterator[Finding]:
    for word in words:
        if word not in facts.symbols.words and word not in facts.known_words:
            close = facts.symbols.close_word(word)
            fix = Fix(kind="replace", old=word, new=close) if close else None
            what = f"{word} of {shown}" if word != shown else word
            message = f"{what} occurs nowhere in code or configuration" + (f"; closest: {close}" if close else "")
            yield Finding(code="H021", message=message, file=base, fix=fix)


def check_python(line: str, base: str, facts: Facts) -> Iterator[Finding]:
    """Findings for the imports of our own modules in a line of a Python block."""
    match = IMPORT.match(line)
    if match is None:
        return
    home = match["home"] or match["module"]
    if home.split(".")[0] not in facts.symbols.top_packages:
        return
    names = [name.split(" as ")[0].strip(" ()") for name in (match["names"] or "").split(",")]
    for name in filter(None, names):
        yield from check_symbol(f"{home}.{name}", base, facts)
    if not match["names"]:
        yield from check_symbol(home, base, facts)
