# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the paths and links that a text names exist (H020)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from areal.harness.core.findings import Finding, Fix
from areal.harness.refs.facts import Facts, only_close

SUFFIXES = (".py", ".md", ".yaml", ".yml", ".toml", ".j2", ".sh", ".js")
BARE_SUFFIXES = (".py", ".md", ".yaml", ".yml", ".toml", ".j2", ".sh")
PATH = re.compile(r"[\w.@*?{},\[\]+-]+(?:/[\w.@*?{},\[\]+-]*)*\Z")
BRACE_GLOB = re.compile(r"\{[\w.-]+(?:,[\w.-]+)+\}")
PLACEHOLDERS = ("...", "path/to", "xxx")
SCHEMA_ID = re.compile(r"areal/[a-z-]+@\d+\Z")  # as in `schema: areal/skill@1`
INSIDE = re.compile(r"(?P<path>[^:#]+\.py)(?:::|:|#)(?P<name>[A-Za-z_][\w.:]*)\Z")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)


def is_placeholder(token: str) -> bool:
    """Whether a token stands for something to be filled in."""
    without_globs = BRACE_GLOB.sub("", token)
    return any(mark in without_globs for mark in ("<", ">", "{", "}", "$", "…")) or any(
        mark in token for mark in PLACEHOLDERS
    )


def as_path(token: str, facts: Facts) -> str:
    """The path that a token names; empty when it is no path of this repository."""
    token = token.rstrip(".,;:") if not token.endswith("...") else token
    if (
        is_placeholder(token)
        or SCHEMA_ID.match(token)
        or "," in BRACE_GLOB.sub("", token)
        or not PATH.match(token)
        or token.startswith(("-", "/", "~", ".."))
    ):
        return ""
    first, slash, _ = token.removeprefix("./").partition("/")
    if any(token.startswith(prefix) for prefix in facts.ignored):
        return ""
    if slash:
        known = first in facts.top_level or token.endswith(SUFFIXES) or (token.endswith("/") and len(token) > 2)
        return token.removeprefix("./") if known or only_close(first, facts.top_level, 0.8) else ""
    return token if token.endswith(BARE_SUFFIXES) and "*" not in token and not token.startswith(".") else ""


def check_path(token: str, base: str, facts: Facts) -> Iterator[Finding]:
    """A finding for a path that does not exist, or whose `path.py:symbol` does not."""
    inside = INSIDE.match(token)
    if inside and as_path(inside["path"], facts):
        yield from check_path(inside["path"], base, facts)
        names = [name for name in re.split(r"::|\.", inside["name"]) if name]
        if inside["path"] in facts.tree.file_set and not facts.symbols.in_file(inside["path"], names):
            yield Finding(code="H021", message=f"{inside['path']} defines no {'.'.join(names)}", file=base)
        return
    path = as_path(token, facts)
    if not path or _exists(path, base, facts):
        return
    closest = facts.closest_path(path)
    fix = Fix(kind="replace", old=path, new=closest) if closest else None
    what = "matches no file" if any(char in path for char in "*?{[") else "does not exist"
    message = f"{path} {what}" + (f"; closest: {closest}" if closest else "")
    yield Finding(code="H020", message=message, file=base, fix=fix)


def _exists(path: str, base: str, facts: Facts) -> bool:
    tree = facts.tree
    if any(char in path for char in "*?{["):
        return bool(tree.matching(path)) or any(tree.root.glob(path.rstrip("/")))
    if "/" not in path.rstrip("/") and not path.endswith("/"):
        beside = (tree.root / base).parent.rglob(path)  # a template of a skill, also before `git add`
        return path in facts.base_names or tree.exists(path) or any(beside)
    nearby = facts.relative(base, path)
    return tree.exists(path) or (bool(nearby) and tree.exists(nearby))


def check_link(target: str, base: str, own_text: str, facts: Facts) -> Iterator[Finding]:
    """A finding for a relative link whose file or heading does not exist."""
    if re.match(r"[a-z][a-z+.-]*:", target) or is_placeholder(target):
        return
    path, _, anchor = target.partition("#")
    where = facts.relative(base, path) if path else base
    if path and not (where and facts.tree.exists(where)):
        closest = facts.closest_path(where) if where else ""
        yield Finding(
            code="H020",
            message=f"link to {target}: {where or target} does not exist"
            + (f"; closest: {closest}" if closest else ""),
            file=base,
        )
    elif (
        anchor and where.endswith(".md") and anchor not in heading_anchors(facts.tree.text(where) if path else own_text)
    ):
        yield Finding(code="H020", message=f"link to {target}: {where} has no heading #{anchor}", file=base)


def heading_anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a Markdown text."""
    headings = (re.sub(r"[`*]|\]\([^)]*\)", "", heading) for heading in HEADING.findall(text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
