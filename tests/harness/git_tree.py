# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A small repository that looks like areal to the harness, for tests of commands that read git."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from areal.harness.review.change import blob_sha

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (".agents/domains.yaml", ".agents/scopes.yaml", ".agents/schemas")
IDENTITY = {
    "GIT_AUTHOR_NAME": "t",
    "GIT_AUTHOR_EMAIL": "t@example.org",
    "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
}
CONFIG = '''"""Settings."""
from dataclasses import dataclass

from areal.api.config.fields import setting


@dataclass
class EngineConfig:
    """Settings of an engine."""

    lr: float = setting(1e-3, "Learning rate.", ge=0)

    def __post_init__(self) -> None:
        assert self.lr >= 0
'''
PAGE = "# Page\n\nText.\n"


def translation(of: str, text: str = "# 页\n\n文。\n") -> str:
    """A Chinese page with the stamp of its original."""
    return f"<!-- sync: en={blob_sha(of.encode())} -->\n\n{text}"


FILES: Mapping[str, str] = {
    "pyproject.toml": '[project]\nname = "areal"\ndependencies = ["torch>=2.11", "transformers>=5.10,<6"]\n'
    '[project.optional-dependencies]\ndev = ["ruff==0.17.5"]\n',
    "README.md": "# areal\n\nText that is read.\n",
    "areal/__init__.py": '"""areal."""\n',
    "areal/api/__init__.py": '"""Contracts."""\n',
    "areal/api/config/engine.py": CONFIG,
    "areal/api/io_struct.py": '"""Types."""\n\n\ndef make(a: int, b: int = 2) -> int:\n    """Make."""\n    return a + b\n\n\n'
    'def old() -> None:\n    """Deprecated: use make."""\n',
    "areal/cli/train.py": '"""Train."""\nimport argparse\n\np = argparse.ArgumentParser()\np.add_argument("--x", help="x")\n',
    "areal/engine/core.py": '"""Engine."""\n\nimport torch.distributed as dist\n\n\ndef step(config, x, rank, group=None):\n'
    '    """Step."""\n    return x * config.lr\n',
    "areal/reward/__init__.py": '"""Rewards."""\nfrom areal.utils.lazy import attach\n\n'
    '__getattr__, __dir__, __all__ = attach(__name__, {"f": "areal.reward.f", "g": "areal.reward.f"})\n',
    "areal/reward/f.py": '"""Rewards."""\n\n\ndef f(a, b=1):\n    """Reward."""\n    return a\n\n\ndef g(a):\n    """Deprecated."""\n',
    "docs/en/page.md": PAGE,
    "docs/zh/page.md": translation(PAGE),
    "docs/en/late.md": PAGE,
    "docs/zh/late.md": translation("# An earlier text\n"),
    "docs/en/alone.md": PAGE,
    "docs/en/cli_reference.md": "# Reference\n",
    "tests/test_core.py": '"""Tests."""\n\n\ndef test_step():\n    assert 1 + 1 == 2\n',
    "tests/helpers.py": '"""Helpers."""\n\n\ndef run_case(x):\n    assert x\n',
    ".claude/agents/archon-expert.md": "x\n",
}


def git(root: Path, *args: str) -> str:
    """Run git in a folder without anybody's configuration."""
    env = {"PATH": os.environ["PATH"], "HOME": str(root), "GIT_CONFIG_SYSTEM": os.devnull, **IDENTITY}
    done = subprocess.run(["git", *args], cwd=root, env=env, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def make_tree(root: Path, files: Mapping[str, str] = FILES) -> Path:
    """A repository with these files and the harness's own sources, committed on `main`."""
    for source in SOURCES:
        target = root / source
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / source).is_dir() else shutil.copyfile)(ROOT / source, target)
    write(root, files)
    git(root, "init", "-q", "-b", "main")
    commit(root, "feat: start")
    return root


def write(root: Path, files: Mapping[str, str | bytes | None]) -> None:
    """Write files; None deletes one."""
    for name, text in files.items():
        path = root / name
        if text is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def commit(root: Path, message: str = "feat: change") -> None:
    """Commit everything."""
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", message)
