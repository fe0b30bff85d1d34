# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A review as Markdown: the CHANGE_ANALYSIS_REPORT that the review-pr skill starts from."""

from __future__ import annotations

from collections.abc import Iterator

from areal.harness.review.analysis import Review

MAX_FILES = 200


def render(review: Review) -> str:
    """The whole report."""
    return "\n".join(_lines(review)) + "\n"


def _lines(review: Review) -> Iterator[str]:
    added, removed = sum(f.added for f in review.files), sum(f.removed for f in review.files)
    yield "# CHANGE_ANALYSIS_REPORT"
    yield ""
    yield f"- base: `{review.base[:12]}`, head: `{review.head}`"
    yield f"- files: {len(review.files)} (+{added} -{removed})"
    yield f"- risk: **{review.risk}**"
    yield from (f"  - {reason}" for reason in review.reasons)
    if review.uncommitted:
        yield f"- not part of this review: {len(review.uncommitted)} files with uncommitted changes (`--worktree` takes them in)"
    yield from _passes(review)
    yield from _checks(review)
    if review.suggested_tests:
        yield from ("", "## Tests to run", "", "```bash", "pytest " + " ".join(review.suggested_tests), "```")
    yield from _files(review)


def _passes(review: Review) -> Iterator[str]:
    yield from ("", "## Passes")
    for item in review.passes:
        yield from (
            "",
            f"### {item.template} ({item.depth}, {item.expert})",
            "",
            f"{item.title}: {_some(item.files)}",
            "",
        )
        yield from (f"- {question}" for question in item.questions)
    if not review.passes:
        yield from ("", "Nothing changed.")


def _some(paths: list[str], limit: int = 5) -> str:
    more = f" and {len(paths) - limit} more" if len(paths) > limit else ""
    return ", ".join(f"`{path}`" for path in paths[:limit]) + more


def _checks(review: Review) -> Iterator[str]:
    yield from ("", "## Checks", "")
    for finding in sorted(review.checks, key=lambda finding: finding.sort_key):
        place = f"`{finding.place}`: " if finding.file else ""
        advice = finding.hint or (f"run `{finding.fix.command}`" if finding.fix else "")
        yield f"- **{finding.code}** ({finding.severity}) {place}{finding.message}{'; ' + advice if advice else ''}"
    if not review.checks:
        yield "No finding."


def _files(review: Review) -> Iterator[str]:
    yield from ("", "## Files", "", "| file | status | + | - | domains |", "| --- | --- | --: | --: | --- |")
    for file in review.files[:MAX_FILES]:
        yield f"| `{file.path}` | {file.status} | {file.added} | {file.removed} | {', '.join(file.domains) or '-'} |"
    if len(review.files) > MAX_FILES:
        yield f"| and {len(review.files) - MAX_FILES} more | | | | |"
