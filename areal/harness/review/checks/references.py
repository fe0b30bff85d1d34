# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of what belongs together: tests and package (R011), files and their mention (R012), pages and their translation
(R014), sources and copies (R020), requirements and summaries (R021)."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from areal.harness.core.findings import Finding, Fix
from areal.harness.docs.pages import stamp_of
from areal.harness.generate.output import digest, read_stamp
from areal.harness.review.change import Change, ChangedFile, blob_sha

PACKAGES = ("areal/", "examples/")  # installed, or copied by users
TOOLS = ("areal/harness/", "areal/cli/")  # they work on a checkout, which has tests
ASSETS = (
    ".png",
    ".svg",
    ".jpg",
    ".jpeg",
    ".gif",
    ".pdf",
    ".yaml",
    ".yml",
    ".json",
    ".csv",
    ".jsonl",
    ".html",
    ".sh",
    ".ipynb",
)
NOT_ASSETS = (".", "tests/", "checklists/", "locks/")  # found by their place, not by being named
TOOL_EXTRAS = ("dev", "docs", "harness")


def imports_of_tests(change: Change) -> Iterator[Finding]:
    """R011."""
    hint = "move what is shared into the package, or the code into tests/"
    for file in change.files:
        if not file.path.startswith(PACKAGES):
            continue
        for node in file.nodes(ast.Import, ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            if not (isinstance(node, ast.ImportFrom) and node.level) and any(_is_tests(name) for name in names):
                message = f"imports {', '.join(names)}: what is installed has no tests"
                yield Finding(code="R011", message=message, file=file.path, line=node.lineno, hint=hint)
        for node in file.nodes(ast.Call):
            if _brings_in_tests(node):
                message = f"{ast.unparse(node)[:60]}: what is installed has no tests"
                yield Finding(code="R011", message=message, file=file.path, line=node.lineno, hint=hint)
        for node in file.nodes(ast.Assign, ast.AnnAssign, ast.Expr, ast.Return):
            if (_climbs_to_tests(node) or _names_a_test_file(node)) and not file.path.startswith(TOOLS):
                message = "reads from tests/, which is not installed"
                yield Finding(code="R011", message=message, file=file.path, line=node.lineno, hint=hint)


def _brings_in_tests(node: ast.AST) -> bool:
    """`import_module("tests.x")`, `sys.path.append("tests")`."""
    if not isinstance(node, ast.Call):
        return False
    texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    name = ast.unparse(node.func)
    if name.split(".")[-1] in ("import_module", "__import__"):
        return any(_is_tests(text) for text in texts[:1])
    return name in ("sys.path.append", "sys.path.insert") and any("tests" in text.split("/") for text in texts)


def _is_tests(name: str) -> bool:
    return re.match(r"(?:areal\.)?tests(?:\.|$)", name) is not None


def _climbs_to_tests(statement: ast.AST) -> bool:
    nodes = list(ast.walk(statement))
    climbs = any(isinstance(node, ast.Attribute) and node.attr in ("parent", "parents") for node in nodes)
    names = (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return climbs and any(re.match(r"(?:\.\./)*tests(?:/|$)", name) for name in names)


def _names_a_test_file(statement: ast.AST) -> bool:
    """Whether a call is handed a path below tests/, as in `open("tests/data.json")`."""
    calls = (node for node in ast.walk(statement) if isinstance(node, ast.Call))
    words = (argument.value for call in calls for argument in call.args if isinstance(argument, ast.Constant))
    return any(isinstance(word, str) and re.fullmatch(r"(?:\.{1,2}/)*tests/[\w./-]+", word) for word in words)


def unreferenced_files(change: Change) -> Iterator[Finding]:
    """R012."""
    new = [file for file in change.files if file.status == "A" and file.path.endswith(ASSETS)]
    new = [file for file in new if not file.path.startswith(NOT_ASSETS)]
    mentions = change.head.grep(sorted({PurePosixPath(file.path).name for file in new}))
    for file in new:
        if not mentions[PurePosixPath(file.path).name] - {file.path}:
            message = "no other file mentions it"
            hint = "use it, name it in the page or README that it belongs to, or leave it out"
            yield Finding(code="R012", message=message, file=file.path, severity="warning", hint=hint)


def translations(change: Change) -> Iterator[Finding]:
    """R014: a translation is current when its stamp is the blob of its original."""
    pages = {file.path for file in change.files if re.match(r"docs/(?:en|zh)/.*\.md$", file.path)}
    for name in sorted({path.split("/", 2)[2] for path in pages}):
        en, zh = f"docs/en/{name}", f"docs/zh/{name}"
        original, translation = change.head.read(en), change.head.read(zh)
        if translation is None:
            continue
        if original is None:
            message = f"{en} does not exist, so {zh} translates nothing"
            yield Finding(code="R014", message=message, file=zh, hint=f"write {en} first, or remove {zh}")
            continue
        stamp = stamp_of(translation.decode("utf-8", errors="replace"))
        if en in pages and zh in pages:  # whether they say the same is what `areal docs sync --check` decides
            continue
        if stamp != blob_sha(original):
            message = f"changed without {en if zh in pages else zh}"
            fix = Fix(kind="run", command=f"areal docs sync --accept {name}  # once {zh} says what {en} says")
            yield Finding(code="R014", message=message, file=zh if zh in pages else en, severity="warning", fix=fix)
        elif en not in pages and stamp == stamp_of((change.base.read(zh) or b"").decode("utf-8", errors="replace")):
            message = f"changed without {en}"
            hint = "fine for a correction of the translation alone"
            yield Finding(code="R014", message=message, file=zh, severity="note", hint=hint)


def harness_copies(change: Change) -> Iterator[Finding]:
    """R020: every generated copy that names a changed source must carry the hash of its text; none is edited by hand."""
    sources = {file.path for file in change.files if file.path.startswith(".agents/")}
    build = Fix(kind="run", command="areal harness build")
    for path in sorted(change.head.paths):
        if not path.startswith((".claude/", ".codex/", ".opencode/")) and path not in ("AGENTS.md", "CLAUDE.md"):
            continue
        stamp = read_stamp((change.head.read(path) or b"").decode("utf-8", errors="replace"))
        if stamp is None:
            continue
        if path in change.by_path and not stamp.untouched:
            message = f"was edited by hand; move the edit to {stamp.source}"
            yield Finding(code="R020", message=message, file=path, fix=build)
        elif stamp.source in sources and stamp.source_sha != _digest_at_head(change, stamp.source):
            message = f"{path} was not built again"
            yield Finding(code="R020", message=message, file=stamp.source, fix=build)
        elif stamp.source.rstrip("/") == ".agents/brief" and path not in change.by_path and _brief_changed(sources):
            message = f"{path} was not built again"
            yield Finding(code="R020", message=message, file=sorted(sources)[0], fix=build)


def _digest_at_head(change: Change, path: str) -> str:
    return digest((change.head.read(path) or b"").decode("utf-8", errors="replace"))


def _brief_changed(sources: set[str]) -> bool:
    return any(path.startswith((".agents/brief/", ".agents/rules/")) for path in sources)


def requirements(change: Change) -> Iterator[Finding]:
    """R021: bounds of packages that users install; tools of development are free."""
    if any("upgrade-summary" in file.path for file in change.files if file.status != "D"):
        return
    for file in change.files:
        if not re.fullmatch(r"pyproject[\w.]*\.toml", file.path) or file.status in ("A", "D"):
            continue
        old, new = _requirements(file, file.old_text), _requirements(file, file.new_text)
        for name in sorted(old.keys() & new.keys()):
            if old[name] != new[name]:
                message = f"{old[name]} became {new[name]} without an upgrade summary"
                fix = Fix(kind="run", command=f"areal deps upgrade {name}==VERSION")
                yield Finding(code="R021", message=message, file=file.path, line=_line(file, new[name]), fix=fix)


def _requirements(file: ChangedFile, text: str) -> Mapping[str, str]:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}
    project, uv = data.get("project", {}), data.get("tool", {}).get("uv", {})
    extras = project.get("optional-dependencies", {})
    listed = [
        *project.get("dependencies", ()),
        *uv.get("override-dependencies", ()),
        *uv.get("constraint-dependencies", ()),
    ]
    listed += [entry for extra, entries in extras.items() if extra not in TOOL_EXTRAS for entry in entries]
    matches = ((re.match(r"[\w.-]+", entry), entry) for entry in listed if isinstance(entry, str))
    return {re.sub(r"[-_.]+", "-", match[0]).lower(): "".join(entry.split()) for match, entry in matches if match}


def _line(file: ChangedFile, requirement: str) -> int:
    numbers = (n for n, text in enumerate(file.new_text.splitlines(), 1) if requirement in "".join(text.split()))
    return next(numbers, 0)
