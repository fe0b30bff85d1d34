# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
import time

import pytest

HEAVY = ("torch", "transformers", "datasets", "numpy", "omegaconf", "hydra", "aiohttp")

# The fastest of a few runs: other processes share the machine, and the bound is about the work, not about them.
ATTEMPTS = 4


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


def fastest(code: str) -> float:
    """CPU seconds of the fastest run of `code`, interpreter start included."""
    timed = f"{code}\nimport time; print('cpu', time.process_time())"
    return min(float(run(timed).rpartition("cpu ")[2]) for _ in range(ATTEMPTS))


@pytest.mark.parametrize(
    "module", ["areal.api.cli_args", "areal.api.alloc_mode", "areal.api", "areal.cli.main", "areal"]
)
def test_import_brings_in_nothing_heavy(module):
    out = run(f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])")
    assert out.strip() == "[]"


def test_configs_import_in_half_a_second():
    assert fastest("from areal.api.cli_args import GRPOConfig") < 0.5


def test_help_of_the_command_takes_under_300_ms():
    code = "from areal.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert fastest(code) < 0.3


def test_loading_a_file_needs_no_torch(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("experiment_name: a\ntrial_name: b\ngconfig: {max_new_tokens: 8}\n")
    code = (
        "import sys\nfrom areal.api.cli_args import GRPOConfig, load_expr_config, describe_plan\n"
        f"describe_plan(load_expr_config(['--config', {str(file)!r}], GRPOConfig)[0])\n"
        "print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    )
    started = time.monotonic()
    assert run(code).strip() == "[]"
    assert time.monotonic() - started < 30
