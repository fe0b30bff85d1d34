# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The real platform programs, installed from the package registries, load and obey what we generate (`make test-platforms`)."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from areal.harness.conformance import PROBES, diagnose
from areal.harness.core.findings import Report
from areal.harness.generate.sources import load_config
from tests.harness.checkouts import ROOT

pytestmark = [pytest.mark.network, pytest.mark.slow]

PLACES = {
    "claude": "lib/python*/site-packages/claude_agent_sdk/_bundled/claude",
    "codex": "lib/python*/site-packages/codex_cli_bin/bin/codex",
    "opencode": "package/bin/opencode",
    "standard": "bin/agentskills",
}


def install(name: str, folder: Path) -> Path:
    """The program of a platform at the version of `.agents/harness.yaml`, kept below `folder` between runs."""
    settings = load_config(ROOT)["platforms"][name]
    target = folder / f"{name}-{settings['version']}"
    if not list(target.glob(PLACES[name])):
        target.mkdir(parents=True, exist_ok=True)
        if settings["registry"] == "npm":
            package = f"{settings['package']}@{settings['version']}"
            subprocess.run(["npm", "pack", package], cwd=target, check=True, capture_output=True, timeout=280)
            with tarfile.open(next(target.glob("*.tgz"))) as archive:
                archive.extractall(target, filter="data")
        else:
            subprocess.run([sys.executable, "-m", "venv", str(target)], check=True, timeout=120)
            package = f"{settings['package']}=={settings['version']}"
            subprocess.run([target / "bin" / "pip", "install", "-q", package], check=True, timeout=280)
    return next(target.glob(PLACES[name]))


@pytest.fixture(scope="module")
def programs_folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return cache / "areal" / "platforms"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", PROBES)
def test_platform_loads_and_obeys_what_we_generate(name: str, programs_folder: Path) -> None:
    report = Report(tool="test")
    diagnose(ROOT, [name], {name: install(name, programs_folder)}, report)
    print("\n".join(report.result["platforms"][name]))
    assert [str(finding) for finding in report.findings] == []
