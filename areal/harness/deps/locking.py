# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Locks by `uv pip compile`: with hashes, without addresses; and what stands in the way when there is no solution.

A conflict is `auto` when a range that we declare ourselves excludes what an upstream needs (we may widen it), and
`needs_decision` when two upstreams, or an upstream and the version asked for, exclude one another.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from areal.harness.core.errors import MissingTool, UsageProblem
from areal.harness.deps.locks import normal_name, pins_in

COMPILE_TIMEOUT_S = 300
"""uv needs about five seconds here; a slow registry takes minutes."""
PYTHON_VERSION = "3.11"
PLATFORM = "x86_64-manylinux_2_34"
"""What the servers publish wheels for."""
_RELATION = re.compile(
    r"(?:Because |[Aa]nd because |[Aa]nd )?([\w.-]+)(\[[\w,]+\])?([=<>!~][^ ]*)? depends on "
    r"([\w.-]+?)(?:\[[\w,]+\])?((?:[=<>!~][^ ,]*(?:,[=<>!~][^ ,]*)*)?)(?=[ ,]|$)"
)
_NOT_THERE = re.compile(r"(?:there is no version of|has no wheels|was not found|no versions? of) ?([\w.=<>-]*)")


@dataclass(frozen=True)
class Relation:
    """`who` depends on `on` within `specifier`; ours when `who` is areal itself."""

    who: str
    on: str
    specifier: str

    @property
    def is_ours(self) -> bool:
        """Whether our manifest or the request says so."""
        return self.who in ("areal", "you")


@dataclass(frozen=True)
class Conflict:
    """Why there is no solution: uv's words, its relations, the class, and what can be done."""

    kind: str  # auto | needs_decision
    text: str
    relations: tuple[Relation, ...]
    widen: Mapping[str, str] = field(default_factory=dict)  # auto: package -> version our range must admit
    choices: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class Lock:
    """A compiled lock."""

    text: str

    @property
    def pins(self) -> dict[str, str]:
        """Its versions."""
        return pins_in(self.text)


def find_uv() -> str:
    """The path of uv; `MissingTool` when it is not installed."""
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        raise MissingTool(
            "uv is not installed: no lock can be made", code="no_uv", next_action="python -m pip install uv"
        )
    return found


def compile_lock(
    manifest_text: str, extra: str, previous: str | None, constraints: Mapping[str, str]
) -> Lock | Conflict:
    """Resolve a manifest with one extra; packages stay where the previous lock has them, unless constrained."""
    uv = find_uv()
    with tempfile.TemporaryDirectory(prefix="areal-lock-") as scratch:
        folder = Path(scratch)
        (folder / "pyproject.toml").write_text(manifest_text, encoding="utf-8")
        wanted = "".join(f"{name}=={version}\n" for name, version in sorted(constraints.items()))
        (folder / "requested.txt").write_text(wanted, encoding="utf-8")
        if previous:
            (folder / "lock.txt").write_text(previous, encoding="utf-8")
        command = [uv, "pip", "compile", "pyproject.toml", "--extra", extra, "--constraint", "requested.txt"]
        command += ["--generate-hashes", "--no-header", "--no-emit-index-url", "--no-emit-find-links", "--quiet"]
        command += ["--python-version", PYTHON_VERSION, "--python-platform", PLATFORM, "--output-file", "lock.txt"]
        for name in constraints:
            command += ["--upgrade-package", name]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise MissingTool(f"uv gave no answer within {COMPILE_TIMEOUT_S} s", code="timeout") from None
        if done.returncode == 0:
            return Lock(_clean((folder / "lock.txt").read_text(encoding="utf-8")))
        message = _plain(done.stderr)
        if "No solution found" not in message:
            raise MissingTool(f"uv failed: {_last_line(message)}", code="uv_failed")
        refuse_unknown(message, constraints)
        return classify(message, constraints)


def refuse_unknown(message: str, requested: Mapping[str, str]) -> None:
    """`UsageProblem` when the index lacks a version that was asked for: no choice of people could change that."""
    for name, version in requested.items():
        if re.search(
            rf"there is no version of {re.escape(name)}=={re.escape(version)}(?![\w.])", " ".join(message.split())
        ):
            raise UsageProblem(
                f"{name}=={version}: the package index has no such version",
                code="no_version",
                next_action=f"python -m pip index versions {name}",
            )


def _clean(text: str) -> str:
    """Without the comments that name our scratch folder, which would differ from run to run."""
    return re.sub(r"^(\s+#\s+)-c requested\.txt\n", "", text, flags=re.MULTILINE)


def _plain(text: str) -> str:
    """uv's message on one line a sentence, without box drawing, colours and addresses."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"\S+://\S+", "<address>", text)
    return re.sub(r"[│╰─▶×]", " ", text)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no message"


def classify(message: str, requested: Mapping[str, str]) -> Conflict:
    """Read uv's explanation and tell who has to give way."""
    sentence = " ".join(message.split()).removeprefix("error: No solution found when resolving dependencies cause: ")
    relations = tuple(dict.fromkeys(_relations(sentence)))
    upstream = [relation for relation in relations if not relation.is_ours]
    ours = [relation for relation in relations if relation.is_ours]
    widen: dict[str, str] = {}
    for theirs in upstream:
        version = _exact(theirs.specifier)
        if version is None or theirs.on in {normal_name(name) for name in requested}:
            continue
        if any(own.on == theirs.on and not _admits(own.specifier, version) for own in ours):
            widen[theirs.on] = version
    if widen and not _NOT_THERE.search(sentence):
        return Conflict("auto", sentence, relations, widen)
    return Conflict("needs_decision", sentence, relations, choices=tuple(_choices(upstream, requested)))


def _relations(sentence: str) -> list[Relation]:
    found = []
    for match in _RELATION.finditer(sentence):
        who, on, specifier = match.group(1), match.group(4), match.group(5).rstrip(",")
        found.append(Relation(normal_name(who), normal_name(on), specifier))
    return found


def _exact(specifier: str) -> str | None:
    return specifier.removeprefix("==") if specifier.startswith("==") and "," not in specifier else None


def _admits(specifier: str, version: str) -> bool:
    try:
        return SpecifierSet(specifier).contains(Version(version), prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return True


def _choices(upstream: list[Relation], requested: Mapping[str, str]) -> list[dict[str, str]]:
    choices = []
    for name, version in requested.items():
        for relation in upstream:
            if relation.on == normal_name(name) and not _admits(relation.specifier, version):
                choices.append(
                    {
                        "action": "other version",
                        "command": f"areal deps upgrade {name}=={_nearest(relation.specifier)}",
                        "why": f"{relation.who} takes {name}{relation.specifier}",
                    }
                )
                choices.append(
                    {
                        "action": "upgrade the one that excludes it",
                        "command": f"areal deps upgrade {name}=={version} {relation.who}==VERSION",
                        "why": f"a release of {relation.who} that takes {name}=={version}",
                    }
                )
        choices.append(
            {
                "action": "override",
                "command": f'add "{name}=={version}" to [tool.uv] override-dependencies',
                "why": "only when the exclusion is known to be needless",
            }
        )
    return [choice for index, choice in enumerate(choices) if choice not in choices[:index]]


def _nearest(specifier: str) -> str:
    """The version to try within a specifier: the pin itself, or a mark that people replace."""
    return _exact(specifier) or "VERSION"
