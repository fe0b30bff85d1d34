# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Originals (`docs/en`) against translations (`docs/zh`): missing, stale, or different where they must be the same.

A translation begins with `<!-- sync: en=BLOB -->`, the git blob of the original that it translates. A generated page has no
translation, which would drift with every build: pages of both languages link to the one there is. Called by `areal docs sync`.
"""

from __future__ import annotations

import difflib
import posixpath
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from areal.harness.core.errors import DecisionNeeded
from areal.harness.core.findings import Finding, Fix
from areal.harness.docs.pages import STAMP, Page, Piece, stamp_of
from areal.harness.review.change import blob_sha

ORIGINALS, TRANSLATIONS = "docs/en", "docs/zh"
REQUIRED = ("quickstart.md", "harness.md")  # every release has these in Chinese; other pages may be missing
GIT_TIMEOUT_S = 10
MAX_SHOWN = 3


@dataclass(frozen=True)
class PageStatus:
    """One original: whether its translation is `current`, `stale`, `different`, `missing` or `unwanted`, or it is `generated`."""

    page: str
    status: str


def names(root: Path, folder: str) -> list[str]:
    """The pages of a language, relative to its folder."""
    return sorted(path.relative_to(root / folder).as_posix() for path in (root / folder).rglob("*.md"))


def compare_all(root: Path) -> tuple[list[PageStatus], list[Finding]]:
    """The status of every page, and the findings."""
    statuses, findings = [], []
    originals = names(root, ORIGINALS)
    for name in originals:
        found = list(compare(root, name))
        codes = {finding.code for finding in found}
        clean = "generated" if _original(root, name).is_generated else "current"
        status = next((word for code, word in _STATUS if code in codes), clean)
        statuses.append(PageStatus(name, status))
        findings += found
    for name in sorted(set(names(root, TRANSLATIONS)) - set(originals)):
        findings.append(_finding("D001", f"{ORIGINALS}/{name} does not exist, so this translates nothing", name))
    return statuses, findings


_STATUS = (
    ("D008", "unwanted"),
    ("D001", "missing"),
    ("D002", "stale"),
    ("D003", "different"),
    ("D004", "different"),
    ("D007", "different"),
)


def compare(root: Path, name: str) -> Iterator[Finding]:
    """All findings about one original and its translation."""
    translation = root / TRANSLATIONS / name
    en = _original(root, name)
    if en.is_generated:
        if translation.is_file():
            message = f"{ORIGINALS}/{name} is generated, a copy of it would drift: remove this, link to the original"
            yield _finding("D008", message, name)
        return
    if not translation.is_file():
        severity = "error" if name in REQUIRED else "note"
        message = f"{TRANSLATIONS}/{name} does not exist yet"
        yield Finding(code="D001", message=message, file=f"{ORIGINALS}/{name}", severity=severity)
        return
    zh = Page(translation.read_text(encoding="utf-8", errors="replace"))
    yield from _stale(root, name, en, zh.text)
    yield from _structure(name, en, zh)
    yield from _verbatim(name, en, zh)
    yield from _untranslated(name, en, zh)


def _original(root: Path, name: str) -> Page:
    return Page((root / ORIGINALS / name).read_text(encoding="utf-8", errors="replace"))


def _stale(root: Path, name: str, en: Page, text: str) -> Iterator[Finding]:
    stamp, now = stamp_of(text), blob_sha((root / ORIGINALS / name).read_bytes())
    fix = Fix(kind="run", command=f"areal docs sync --accept {name}")
    if stamp is None:
        yield _finding("D002", "has no stamp that says which original it translates", name, fix=fix)
    elif stamp != now:
        before = _old_text(root, stamp)
        what = _changes(Page(before), en) if before is not None else "what changed is not in this clone"
        yield _finding("D002", f"{ORIGINALS}/{name} changed since: {what}", name, fix=fix)


def _old_text(root: Path, blob: str) -> str | None:
    command = ["git", "-C", str(root), "cat-file", "blob", blob]
    try:
        done = subprocess.run(command, capture_output=True, timeout=GIT_TIMEOUT_S, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else None


def _changes(old: Page, new: Page) -> str:
    """In a few words what a translator has to do."""
    parts = []
    old_headings, new_headings = ([h.text for h in page.headings] for page in (old, new))
    for word, gone, come in (
        ("headings added", old_headings, new_headings),
        ("headings removed", new_headings, old_headings),
    ):
        if different := [heading for heading in come if heading not in gone]:
            parts.append(f"{word}: {', '.join(different[:MAX_SHOWN])}")
    if [b.text for b in old.code_blocks] != [b.text for b in new.code_blocks]:
        parts.append("code blocks changed")
    lines = difflib.ndiff(old.text.splitlines(), new.text.splitlines())
    parts.append(f"{sum(line[0] in '+-' for line in lines)} lines")
    return "; ".join(parts)


def _structure(name: str, en: Page, zh: Page) -> Iterator[Finding]:
    levels = [h.level for h in en.headings], [h.level for h in zh.headings]
    if levels[0] != levels[1]:
        index = next((i for i, pair in enumerate(zip(*levels)) if pair[0] != pair[1]), min(map(len, levels)))
        line = zh.headings[index].line if index < len(zh.headings) else 0
        missing = f"; the original has {en.headings[index].text!r} there" if index < len(en.headings) else ""
        message = f"{len(levels[1])} headings, the original has {len(levels[0])}, or other levels{missing}"
        yield _finding("D003", message, name, line)
    if len(en.code_blocks) != len(zh.code_blocks):
        message = f"{len(zh.code_blocks)} code blocks, the original has {len(en.code_blocks)}"
        yield _finding("D003", message, name)
    if [t.text for t in en.tables] != [t.text for t in zh.tables]:
        shown = " | ".join(t.text for t in zh.tables) or "none", " | ".join(t.text for t in en.tables) or "none"
        yield _finding("D003", f"tables: {shown[0]}; the original: {shown[1]}", name, _first_line(zh.tables))
    if len(en.list_items) != len(zh.list_items):
        message = f"{len(zh.list_items)} items of lists, the original has {len(en.list_items)}"
        yield _finding("D003", message, name, _first_line(zh.list_items))
    links = [sorted(_targets(page, name, folder)) for page, folder in ((en, ORIGINALS), (zh, TRANSLATIONS))]
    if links[0] != links[1]:
        missing, added = (list((Counter(links[a]) - Counter(links[1 - a])).elements()) for a in (0, 1))
        yield _finding(
            "D003", f"links: missing {missing[:MAX_SHOWN]}, added {added[:MAX_SHOWN]}", name, _first_line(zh.links)
        )


def _untranslated(name: str, en: Page, zh: Page) -> Iterator[Finding]:
    """D007: prose that is the original's, word for word."""
    original = {piece.text for piece in en.paragraphs}
    same = [piece for piece in zh.paragraphs if piece.text in original]
    if same:
        message = f"{len(same)} paragraphs are not translated, the first is {same[0].text[:40]!r}"
        yield _finding("D007", message, name, same[0].line)


def _targets(page: Page, name: str, folder: str) -> Iterator[str]:
    """Targets as places in the repository; the pages of both languages are one place, and anchors are translated."""
    for link in page.links:
        target = link.text.split("#")[0]
        if "://" in target or target.startswith("mailto:"):
            yield link.text
        elif target:
            place = posixpath.normpath(posixpath.join(folder, posixpath.dirname(name), target))
            yield place.replace(f"{TRANSLATIONS}/", f"{ORIGINALS}/")


def _verbatim(name: str, en: Page, zh: Page) -> Iterator[Finding]:
    if len(en.code_blocks) == len(zh.code_blocks):
        for old, new in zip(en.code_blocks, zh.code_blocks):
            if old.text != new.text:
                yield _finding("D004", f"a code block differs: {_difference(old.text, new.text)}", name, new.line)
    yield from _pieces("mathematics", en.math, zh.math, name, ordered=True)
    yield from _pieces("inline code", en.inline_code, zh.inline_code, name, ordered=False)


def _pieces(what: str, old: Sequence[Piece], new: Sequence[Piece], name: str, ordered: bool) -> Iterator[Finding]:
    texts = [piece.text for piece in old], [piece.text for piece in new]
    if (texts[0] == texts[1]) if ordered else (Counter(texts[0]) == Counter(texts[1])):
        return
    extra = list((Counter(texts[1]) - Counter(texts[0])).elements())
    missing = list((Counter(texts[0]) - Counter(texts[1])).elements())
    line = next((piece.line for piece in new if piece.text in extra), 0)
    if not extra and not missing:
        yield _finding("D004", f"{what} in another order than the original", name, line)
        return
    yield _finding(
        "D004", f"{what} differs: has {extra[:MAX_SHOWN]}, the original has {missing[:MAX_SHOWN]}", name, line
    )


def _difference(old: str, new: str) -> str:
    pairs = zip(old.splitlines(), new.splitlines())
    first = next(((a, b) for a, b in pairs if a != b), None)
    return f"{first[1]!r} instead of {first[0]!r}" if first else "its length"


def _first_line(pieces: Sequence[Piece]) -> int:
    return pieces[0].line if pieces else 0


def _finding(code: str, message: str, name: str, line: int = 0, fix: Fix | None = None) -> Finding:
    return Finding(code=code, message=message, file=f"{TRANSLATIONS}/{name}", line=line, fix=fix)


def accept(root: Path, wanted: Sequence[str]) -> list[str]:
    """Stamp translations with the blob of their original as it is on disk; the pages whose stamp changed."""
    both = set(names(root, ORIGINALS)) & set(names(root, TRANSLATIONS))
    known = sorted(name for name in both if not _original(root, name).is_generated)
    wanted = [name.removeprefix(f"{TRANSLATIONS}/").removeprefix(f"{ORIGINALS}/") for name in wanted]
    if unknown := [name for name in wanted if name not in known]:
        message = f"no page {unknown[0]!r} with both an original and a translation"
        raise DecisionNeeded(message, code="unknown_page", choices=known)
    changed = []
    for name in wanted:
        path = root / TRANSLATIONS / name
        text = path.read_text(encoding="utf-8")
        stamp = f"<!-- sync: en={blob_sha((root / ORIGINALS / name).read_bytes())} -->\n\n"
        new = stamp + STAMP.sub("", text, count=1).lstrip("\n")
        if new != text:
            path.write_text(new, encoding="utf-8")
            changed.append(name)
    return changed
