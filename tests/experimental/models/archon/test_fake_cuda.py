# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Every kind of layer, forward and backward in bf16 on a GPU that has no data: devices, dtypes, kernels and their constraints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.experimental.models.archon.fake_cuda_gradients import CASES

ROOT = Path(__file__).resolve().parents[4]
FLASH = {"_varlen_attn": 2, "_varlen_attn_backward": 2}
LOSS = {"utils/functional/logit_rows.py:rows_with_gradient", "utils/functional/logprobs.py:_kept_chunks"}
"""The host waits for the device to learn which rows have a gradient: once a micro-batch, in its backward."""
KERNELS: dict[str, dict[str, int]] = {
    "dense, all recomputed": {"_varlen_attn": 4, "_varlen_attn_backward": 2},
    "soft caps": {},
    "latent attention and delta net": {"_varlen_attn": 1, "_varlen_attn_backward": 1, "linalg_solve_triangular": 2},
    "short convolutions": {"_varlen_attn": 1, "_varlen_attn_backward": 1},
    "experts": FLASH | {"_grouped_mm": 9},
    "experts, cheap recomputed": FLASH | {"_grouped_mm": 9},
    "experts with biases": FLASH | {"_grouped_mm": 18},
    "experts by biased sigmoids": FLASH | {"_grouped_mm": 18},
}
"""Operators of two layers, where they are not those of flash attention alone; `bmm` is that of dense attention."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("gradients of fake CUDA tensors need g++ to build a device that does nothing")
    home = Path(torch.__file__).parent
    hooks = tmp_path_factory.mktemp("hooks") / "hooks.so"
    command = [compiler, "-O0", "-std=c++20", "-shared", "-fPIC", f"-I{home / 'include'}"]
    command += [str(ROOT / "tests/fake_cuda_hooks.cpp"), "-o", str(hooks)]
    command += [f"-L{home / 'lib'}", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{home / 'lib'}"]
    subprocess.run(command, check=True, timeout=300)
    done = subprocess.run(
        [sys.executable, "-m", "tests.experimental.models.archon.fake_cuda_gradients", str(hooks)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", CASES)
def test_layers_on_a_gpu_without_data_run_the_kernels_that_they_need(name: str, outcomes: dict[str, Any]) -> None:
    outcome = outcomes[name]
    assert "error" not in outcome, outcome["error"]
    is_dense_attention = outcome["ops"].pop("bmm", 0) > 0
    assert outcome["ops"] == KERNELS.get(name, FLASH)
    assert is_dense_attention == (name in ("soft caps", "latent attention and delta net"))
    assert outcome["waits"].keys() <= LOSS
