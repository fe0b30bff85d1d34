# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The reference validator of the Agent Skills standard, on every skill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from areal.harness.conformance.sandbox import Check, Sandbox
from areal.harness.generate.sources import Sources


def probe(program: Path, sandbox: Sandbox, sources: Sources) -> Iterator[Check]:
    """Ask the validator."""
    for skill in sources.skills:
        done = sandbox.run(str(program), "validate", str(sandbox.checkout / skill.source.parent))
        detail = (done.stdout + done.stderr)[-300:] if done.returncode else ""
        yield Check(f"skill {skill.name}", done.returncode == 0, detail)
