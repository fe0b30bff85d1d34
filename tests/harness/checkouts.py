# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Copies of this checkout that tests may damage, and a tiny one with every kind of source."""

from __future__ import annotations

import shutil
from pathlib import Path

from areal.harness.check.run import CHECKS, run_checks
from areal.harness.core.findings import Finding, Report
from areal.harness.core.tree import Tree

ROOT = Path(__file__).resolve().parents[2]


def copy_checkout(target: Path) -> Path:
    """The tracked files of this checkout, without git: there the harness takes what is on disk."""
    for name in Tree(ROOT).files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target / name)
    return target


def findings_of(root: Path, *only: str) -> list[Finding]:
    report = Report(tool="test")
    run_checks(root, report, only or CHECKS)
    return report.findings


EXPERT = """\
---
name: archon-expert
description: Archon engine and MoE parallelism. Use when code under pkg changes, or for EP questions.
access: read
effort: high
covers: ["areal/pkg/**", "areal/cli/**"]
---
# Archon expert

{{ filemap(areal/pkg/**) }}
"""

TINY = {
    "pyproject.toml": '[project.optional-dependencies]\ndev = []\n[tool.pytest.ini_options]\nmarkers = ["slow: s"]\n',
    "Makefile": "test: x\n\tpytest\n",
    "areal/__init__.py": "",
    "areal/cli/main.py": 'COMMANDS = {"run": Command("areal.cli.run", "runs")}\n',
    "areal/cli/run.py": 'p.add_argument("--fast")\n',
    "areal/pkg/__init__.py": '"""A package. More."""\n',
    "areal/pkg/engine.py": '"""The engine: does it.\n\nMore."""\n\n\nclass Engine:\n    def step(self):\n        self.count = 1\n',
    ".agents/hooks.yaml": "hooks: []\n",
    ".agents/experts/archon-expert.md": EXPERT,
    ".agents/rules/pkg.md": "---\nid: pkg\ntitle: The package\npaths: [areal/pkg/**]\n---\n- Be kind to `Engine`.\n",
    ".agents/brief/10-start.md": "# Tiny\n\n{{ experts }}\n\n{{ skills }}\n\n{{ rules }}\n\n{{ repo_map }}\n",
    ".agents/skills/do-it/SKILL.md": (
        "---\nname: do-it\ndescription: Does it when it has to be done, by one command that is named below.\n---\n"
        "# Do it\n\nSee [more](more.md).\n"
    ),
    ".agents/skills/do-it/more.md": "More.\n",
}


def tiny_checkout(target: Path) -> Path:
    """A few files with one source of each kind; schemas and limits are the real ones."""
    shutil.copytree(ROOT / ".agents" / "schemas", target / ".agents" / "schemas")
    shutil.copyfile(ROOT / ".agents" / "harness.yaml", target / ".agents" / "harness.yaml")
    for name, text in TINY.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(text, encoding="utf-8")
    return target
