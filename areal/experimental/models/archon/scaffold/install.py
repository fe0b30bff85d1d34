# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Stages a generated family in a folder of its own, proves it there, and moves it to its place in one go.

Nothing outside the stage changes before every generated test has passed; the registry line is the very last write.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from areal.experimental.models import archon
from areal.experimental.models.archon.base import UnsupportedConfig
from areal.experimental.models.archon.model_spec import ModelSpec
from areal.experimental.models.archon.scaffold.findings import Refused
from areal.experimental.models.archon.scaffold.given import without_dropout
from areal.experimental.models.archon.scaffold.pipeline import Discovery, config_class_of
from areal.experimental.models.archon.scaffold.proof_source import proof_files
from areal.experimental.models.archon.scaffold.tiny_config import BUILD_ERRORS

ARCHON = Path(archon.__path__[0])
ROOT = ARCHON.parents[3]
TESTS_DEADLINE_S = 900.0


@dataclass(frozen=True)
class Target:
    """Where a family goes: its package folder, its tests, and the registry (None outside the tree)."""

    package: Path
    tests: Path
    registry: Path | None

    @property
    def home(self) -> str:
        """The import path of the package."""
        return f"areal.experimental.models.archon.{self.package.name}" if self.registry else self.package.name


@dataclass(frozen=True)
class TestRun:
    """Outcome of the generated tests."""

    passed: bool
    summary: str
    output: str


def target_of(name: str, output: Path | None) -> Target:
    """The place of a family; `Refused` where something is in the way."""
    if output is not None:
        target = Target(output / name, output / f"{name}_tests", None)
    elif not (ROOT / "tests").is_dir():
        raise Refused("areal is not a checkout here, so there is no tree to write to; pass --output FOLDER")
    else:
        target = Target(ARCHON / name, ROOT / "tests/experimental/models/archon" / name, ARCHON / "families.py")
    for folder in (target.package, target.tests):
        if folder.exists() or folder.with_suffix(".py").exists():
            raise Refused(f"{folder} exists already; remove it or pass another --name")
    if output is not None and importlib.util.find_spec(name) is not None:
        raise Refused(f"a package {name!r} would hide the installed one; pass another --name")
    if output is not None and output.exists() and not output.is_dir():
        raise Refused(f"{output} is not a folder")
    return target


def stage(discovery: Discovery, target: Target, folder: Path) -> str:
    """Write package and tests below `folder`, formatted; returns why the default config is refused, if it is."""
    for path, text in discovery.files().items():
        _write(folder / "package" / target.package.name / path, text)
    refusal = _refusal_of_default(discovery, target, folder)
    default = "refused" if refusal else "read" if _default_builds(discovery) else "unbuildable"
    files = proof_files(discovery, is_in_tree=target.registry is not None, default=default)
    for path, text in files.items():
        _write(folder / "tests" / target.tests.name / path, text)
    format_sources(folder)
    return refusal


def _refusal_of_default(discovery: Discovery, target: Target, folder: Path) -> str:
    """Why the staged family refuses the default config of its class; empty when it reads it."""
    config, _ = without_dropout(config_class_of(discovery.names.model_type)())
    try:
        staged_spec(target, folder).model_args_class.from_hf_config(config)  # type: ignore[attr-defined]
    except (UnsupportedConfig, TypeError) as error:  # TypeError: sizes that the default config leaves out
        return str(error)
    return ""


def staged_spec(target: Target, folder: Path) -> ModelSpec:
    """The spec of the staged family."""
    with _importable(target, folder / "package"):
        return importlib.import_module(f"{target.home}.spec").SPEC


def _default_builds(discovery: Discovery) -> bool:
    """Whether HF itself can build the model of its default config."""
    try:
        with torch.device("meta"):
            AutoModelForCausalLM.from_config(config_class_of(discovery.names.model_type)())
    except BUILD_ERRORS:
        return False
    return True


@contextmanager
def _importable(target: Target, folder: Path) -> Iterator[None]:
    """Let the staged package be imported as if it were in its place, and be forgotten afterwards."""
    paths = archon.__path__ if target.registry is not None else sys.path
    paths.append(str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        paths.remove(str(folder))
        for name in [n for n in sys.modules if n == target.home or n.startswith(f"{target.home}.")]:
            del sys.modules[name]


def format_sources(folder: Path) -> None:
    """Sort imports and format, where ruff is installed (it is in a checkout)."""
    ruff = shutil.which("ruff", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if ruff is None:
        return
    config = ["--config", str(ROOT / "pyproject.toml")] if (ROOT / "pyproject.toml").is_file() else []
    subprocess.run([ruff, "check", "--quiet", "--fix", "--select", "I,F401", *config, str(folder)], check=False)
    subprocess.run([ruff, "format", "--quiet", *config, str(folder)], check=True)


def run_tests(target: Target, folder: Path) -> TestRun:
    """Run the staged tests in a process that sees the staged package."""
    stage_plugin = folder / "areal_scaffold_stage.py"
    in_tree = f"import areal.experimental.models.archon as a; a.__path__.append({str(folder / 'package')!r})\n"
    stage_plugin.write_text(in_tree if target.registry else "", encoding="utf-8")
    paths = [str(folder), str(folder / "package"), str(ROOT)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    tests = str(folder / "tests")
    options = ["-q", "--tb=short", "-p", "areal_scaffold_stage", "-p", "no:cacheprovider", "--rootdir", tests]
    command = [sys.executable, "-m", "pytest", *options, tests]
    try:
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=TESTS_DEADLINE_S)
    except subprocess.TimeoutExpired:
        return TestRun(False, f"the generated tests ran longer than {TESTS_DEADLINE_S:.0f} s", "")
    lines = done.stdout.strip().splitlines()
    return TestRun(done.returncode == 0, lines[-1] if lines else "no output", done.stdout + done.stderr)


def install(target: Target, folder: Path, model_type: str) -> list[Path]:
    """Move the staged folders to their places and add the registry line; returns what was written."""
    written = [target.package, target.tests]
    is_done = False
    try:
        for source, place in zip((folder / "package", folder / "tests"), written):
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(source / place.name, place)
        if target.registry is not None:
            text = with_line(target.registry.read_text(encoding="utf-8"), model_type, target.package.name)
            replacement = target.registry.with_suffix(".new")
            replacement.write_text(text, encoding="utf-8")
            replacement.replace(target.registry)
        is_done = True
    finally:
        if not is_done:  # a full disk, an interrupt: nothing half-written stays
            for place in written:
                shutil.rmtree(place, ignore_errors=True)
    return written if target.registry is None else [*written, target.registry]


def with_line(registry: str, model_type: str, name: str) -> str:
    """The registry's source with one more family, kept sorted."""
    pattern = re.compile(r'^    "[\w-]+": f"\{_HOME\}\.\w+\.spec",\n', re.MULTILINE)
    lines = pattern.findall(registry)
    added = sorted({*lines, f'    "{model_type}": f"{{_HOME}}.{name}.spec",\n'})
    start, end = registry.index(lines[0]), registry.index(lines[-1]) + len(lines[-1])
    return registry[:start] + "".join(added) + registry[end:]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
