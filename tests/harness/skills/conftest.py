# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A small repository with one skill whose checks take no time."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SKILL = """\
schema: areal/skill@1
name: add-thing
kind: change
inputs:
  name: {type: identifier, required: true, help: the name, reserved: [taken]}
  size: {type: int, default: 3, min: 1, max: 9, help: how big}
  loud: {type: bool, default: true, help: whether it shouts}
creates:
  - {path: "pkg/{name}.py", template: thing.py.j2}
  - {path: "tests/test_{name}.py", template: test.py.j2, generated_tests: true}
edits:
  - {path: pkg/__init__.py, op: add_dict_entry, target: THINGS, key: "{name}", value: '"pkg.{name}"'}
verify:
  - id: compiles
    run: python -m py_compile {changed_python}
    timeout_s: 20
  - id: size
    run: python -c "import sys, pkg.{name} as m; sys.exit(m.SIZE > 7)"
    timeout_s: 20
examples:
  - {inputs: {name: demo}}
depends_on: [pkg/**]
"""
GUIDE = """\
---
name: add-thing
description: Adds a thing to the package, for the tests of the runner of skills.
---
# Add a thing
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """The repository, with one commit."""
    root = tmp_path / "repo"
    folder = root / ".agents/skills/add-thing/templates"
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / ".agents/schemas", root / ".agents/schemas")
    (folder.parent / "skill.yaml").write_text(SKILL)
    (folder.parent / "SKILL.md").write_text(GUIDE)
    (folder / "thing.py.j2").write_text("SIZE = {{ size }}\nLOUD = {{ loud }}\n")
    (folder / "test.py.j2").write_text("import pkg.{{ name }}\n")
    (root / "pkg").mkdir()
    (root / "pkg/__init__.py").write_text('THINGS = {\n    "first": "pkg.first",\n}\n')
    (root / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (root / ".gitignore").write_text("runs/\n__pycache__/\n")
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "start"]):
        identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
        subprocess.run(["git", "-C", str(root), *identity, *words], check=True)
    return root


def tree_of(root: Path) -> dict[str, bytes]:
    """Every file that counts, with its bytes."""
    skipped = {".git", "runs", "__pycache__"}
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): p.read_bytes() for p in files if not skipped & set(p.relative_to(root).parts)}
