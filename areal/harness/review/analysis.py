# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A review: the domains of every changed file, the risk, who looks at what how closely, tests to run, and the checks' findings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from areal.harness.core.findings import Finding
from areal.harness.core.tree import translate_glob
from areal.harness.review.change import Change, ChangedFile
from areal.harness.review.checks import collectives, public_api, references, settings, tests, texts
from areal.harness.review.domains import SEVERITIES, Domain, load_domains

Check = Callable[[Change], Iterator[Finding]]
CHECKS: Mapping[str, Check] = {
    "R010": texts.absolute_paths,
    "R011": references.imports_of_tests,
    "R012": references.unreferenced_files,
    "R013": settings.stale_reference,
    "R014": references.translations,
    "R015": texts.only_formatting,
    "R016": settings.undocumented_options,
    "R017": public_api.removed_api,
    "R018": tests.unmarked_gpu_tests,
    "R019": texts.large_files,
    "R020": references.harness_copies,
    "R021": references.requirements,
    "R022": collectives.rank_dependent_collectives,
    "R023": tests.tests_without_assertion,
    "R024": tests.skips_without_reason,
    "R025": settings.unread_options,
}
SLOW_CHECKS = ("R012", "R017", "R020", "R025")  # those that read more than the changed files; --quick leaves them out
DEPTHS = {"critical": "comprehensive", "high": "comprehensive", "medium": "targeted", "low": "basic"}
SMALL_LINES = 20  # of a domain: up to so many changed lines are looked at one step less closely
LARGE_LINES = 1500
MAX_TESTS = 30


@dataclass(frozen=True)
class ReviewedFile:
    """A changed file as the report shows it."""

    path: str
    status: str
    added: int
    removed: int
    domains: list[str]
    signals: list[str]


@dataclass(frozen=True)
class Pass:
    """One look at the change: what about, how closely, by which expert, with which questions."""

    template: str
    title: str
    depth: str
    expert: str
    files: list[str]
    questions: list[str]


@dataclass
class Review:
    """The result of a review."""

    base: str
    head: str
    files: list[ReviewedFile] = field(default_factory=list)
    risk: str = "LOW"
    reasons: list[str] = field(default_factory=list)
    passes: list[Pass] = field(default_factory=list)
    suggested_tests: list[str] = field(default_factory=list)
    checks: list[Finding] = field(default_factory=list)
    uncommitted: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The review as JSON, without the findings (the envelope has them)."""
        data = asdict(self)
        del data["checks"]
        return data


def review_change(change: Change, root: Path, quick: bool = False) -> Review:
    """Analyse a change with the domains of the checkout at `root`."""
    domains = load_domains(root)
    review = Review(base=change.base.commit.hexsha, head=change.head_name)
    touched: dict[str, list[ChangedFile]] = {}
    for file in change.files:
        lines = [line.text for line in (*file.added, *file.removed)]
        shown = {d.name: found for d in domains if (found := d.signals_of(file.path, lines))}
        for name in shown:
            touched.setdefault(name, []).append(file)
        signals = [f"{name}/{signal}" for name, found in shown.items() for signal in found]
        review.files.append(
            ReviewedFile(file.path, file.status, len(file.added), len(file.removed), list(shown), signals)
        )
    reached = [domain for domain in domains if domain.name in touched]
    review.risk, review.reasons = _risk(change, reached, touched)
    review.passes = [_pass(domain, touched[domain.name]) for domain in sorted(reached, key=_urgency)]
    review.suggested_tests = _suggested_tests(change, reached)
    for code, check in CHECKS.items():
        if not (quick and code in SLOW_CHECKS):
            review.checks += check(change)
    return review


def _urgency(domain: Domain) -> int:
    return SEVERITIES.index(domain.severity)


def _risk(change: Change, reached: list[Domain], touched: Mapping[str, list[ChangedFile]]) -> tuple[str, list[str]]:
    """The gravest domain decides, where its code changed; two grave domains that are linked make it critical."""
    level, reasons = len(SEVERITIES) - 1, []
    for domain in reached:
        num_lines = _num_lines(touched[domain.name])
        severity = _urgency(domain) + (1 if domain.severity == "critical" and num_lines <= 2 else 0)
        if severity <= 1:
            reasons.append(f"{domain.name} ({domain.severity}): {num_lines} lines in {_files(touched[domain.name])}")
        level = min(level, severity)
    names = {domain.name: domain for domain in reached}
    for domain in reached:
        for link in domain.links:
            other = names.get(link)
            own = {file.path for file in touched[domain.name]}
            is_told = domain.name in names[link].links and link < domain.name if other else False
            if other is None or is_told or own == {file.path for file in touched[link]}:
                continue
            if "critical" in (domain.severity, other.severity) and max(_urgency(domain), _urgency(other)) <= 1:
                level = 0
                reasons.append(f"{domain.name} + {link} touched together")
    total = _num_lines(change.files)
    if total > LARGE_LINES and level:
        level -= 1
        reasons.append(f"{total} changed lines")
    return SEVERITIES[level].upper(), reasons or ["no domain of high severity"]


def _num_lines(files: Any) -> int:
    return sum(len(file.added) + len(file.removed) for file in files)


def _files(files: list[ChangedFile]) -> str:
    return files[0].path if len(files) == 1 else f"{len(files)} files"


def _pass(domain: Domain, files: list[ChangedFile]) -> Pass:
    severity = _urgency(domain)
    if _num_lines(files) <= SMALL_LINES and domain.severity != "critical":
        severity = min(severity + 1, len(SEVERITIES) - 1)
    depth = DEPTHS[SEVERITIES[severity]]
    paths = [file.path for file in files]
    return Pass(domain.name, domain.title, depth, domain.expert, paths, list(domain.questions))


def _suggested_tests(change: Change, reached: list[Domain]) -> list[str]:
    """Changed tests, tests named after or importing a changed module, then what the domains list."""
    known = sorted(path for path in change.head.paths if re.search(r"(?:^|/)test_[^/]*\.py$", path))
    changed = [file.path for file in change.files if file.path in known]
    sources = [file for file in change.files if file.path.startswith("areal/") and file.path.endswith(".py")]
    modules = {_module(file.path): file for file in sources}
    mirrors = {
        f"tests/{PurePosixPath(f.path).parent.relative_to('areal')}/test_{PurePosixPath(f.path).name}" for f in sources
    }
    importing = change.head.grep(sorted(modules), "tests/") if len(modules) <= 200 else {}
    direct = sorted(set().union(mirrors, *importing.values()) & set(known))
    patterns = [translate_glob(glob) for domain in reached if domain.severity != "low" for glob in domain.tests]
    listed = [path for path in known if any(pattern.match(path) for pattern in patterns)]
    return list(dict.fromkeys([*changed, *direct, *listed]))[:MAX_TESTS]


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
