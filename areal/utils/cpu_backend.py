# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Chooses which library multiplies float32 matrices on the CPU: MKL (torch's default) or oneDNN.

On some CPUs oneDNN is twice as fast, on others slower, and where the chip has bfloat16 units it may round to bfloat16:
so the choice is measured once, on the shapes of the model, and never falls on a backend that rounds. Called by training
engines and the embedded server when they build a model. The setting is process-wide.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from areal.utils.errors import ConfigError
from areal.utils.logging import getLogger

logger = getLogger("cpu_backend")

MatmulBackend = Literal["mkl", "onednn"]
MatmulShape = tuple[int, int, int]
"""(m, k, n) of an `[m, k] @ [k, n]` product."""

ENV_OVERRIDE = "AREAL_CPU_MATMUL"
# The only value that makes torch hand float32 products to oneDNN; it permits bfloat16, which the accuracy check refuses.
_PRECISION: dict[str, str] = {"mkl": "none", "onednn": "bf16"}
# float32 products of random matrices err by 1e-7 to 1e-6 relative to float64, bfloat16 ones by 3e-3.
_MAX_RELATIVE_ERROR = 1e-5
_BUDGET_S = 0.1
_ROUNDS = 3
# A choice by a hair would differ from run to run, and with it the last bits of every loss.
_MIN_SPEEDUP = 1.1


@dataclass(frozen=True)
class BackendChoice:
    """The backend in force and why; seconds of one pass over the shapes are None where nothing was timed."""

    backend: MatmulBackend
    reason: str
    mkl_s: float | None = None
    onednn_s: float | None = None


def choose_cpu_matmul(shapes: Sequence[MatmulShape], override: str | None = None) -> BackendChoice:
    """Pick and set the backend for float32 products of these shapes, and log it in one line.

    Args:
        shapes: products of the model, with a typical number of rows.
        override: "mkl", "onednn" or "auto"; None reads `AREAL_CPU_MATMUL`, whose default is auto. Under
            `torch.use_deterministic_algorithms` auto means mkl: a timing must not decide the numbers of a run.
    """
    wanted = override or os.environ.get(ENV_OVERRIDE, "auto")
    if wanted not in ("mkl", "onednn", "auto"):
        raise ConfigError(f"expected mkl, onednn or auto as the CPU matmul backend, got {wanted!r}; fix {ENV_OVERRIDE}")
    if wanted == "onednn" and not is_onednn_accurate():
        raise ConfigError(
            f"expected float32 accuracy of oneDNN, but on this CPU it rounds products to bfloat16; set {ENV_OVERRIDE}=mkl"
        )
    if wanted != "auto":
        choice = BackendChoice("mkl" if wanted == "mkl" else "onednn", "as told")
    elif torch.are_deterministic_algorithms_enabled():
        choice = BackendChoice("mkl", "deterministic mode takes the default")
    elif not torch.backends.mkldnn.is_available() or not is_onednn_accurate():
        choice = BackendChoice("mkl", "oneDNN is missing or rounds to bfloat16 on this CPU")
    else:
        choice = _measure(shapes)
    set_cpu_matmul(choice.backend)
    logger.info("float32 matmul backend: %s (%s)", choice.backend, choice.reason)
    return choice


@contextmanager
def without_measuring() -> Iterator[None]:
    """In this block, also in processes started from it, `auto` means mkl: a timing must not decide what a run repeats."""
    before = os.environ.get(ENV_OVERRIDE)
    os.environ[ENV_OVERRIDE] = "mkl" if before in (None, "auto") else before
    try:
        yield
    finally:
        if before is None:
            del os.environ[ENV_OVERRIDE]
        else:
            os.environ[ENV_OVERRIDE] = before


def set_cpu_matmul(backend: MatmulBackend) -> None:
    """Route float32 CPU matrix products of this process to a backend."""
    torch.backends.mkldnn.matmul.fp32_precision = _PRECISION[backend]


def is_onednn_accurate(size: int = 256) -> bool:
    """Whether oneDNN keeps float32 accuracy here, against float64."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator, dtype=torch.float64) for _ in range(2))
    exact = a @ b
    before = torch.backends.mkldnn.matmul.fp32_precision
    set_cpu_matmul("onednn")
    product = a.float() @ b.float()
    torch.backends.mkldnn.matmul.fp32_precision = before
    return bool((product.double() - exact).norm() < _MAX_RELATIVE_ERROR * exact.norm())


def _measure(shapes: Sequence[MatmulShape], clock: Callable[[], float] = time.perf_counter) -> BackendChoice:
    """Best of a few interleaved rounds for each backend: other work on the machine only ever adds time."""
    operands = [(torch.randn(m, k), torch.randn(n, k)) for m, k, n in shapes]
    best: dict[str, float] = {}
    started = clock()
    for round_number in range(_ROUNDS + 1):
        for backend in ("mkl", "onednn"):
            set_cpu_matmul(backend)
            begin = clock()
            for a, b in operands:
                torch.mm(a, b.t())
            seconds = clock() - begin
            if round_number > 0:  # the first round warms up: allocation, code generation
                best[backend] = min(seconds, best.get(backend, seconds))
        if round_number > 0 and clock() - started > _BUDGET_S:
            break
    backend = "onednn" if best["onednn"] * _MIN_SPEEDUP < best["mkl"] else "mkl"
    reason = f"measured: mkl {1e3 * best['mkl']:.2f} ms, onednn {1e3 * best['onednn']:.2f} ms"
    return BackendChoice(backend, reason, best["mkl"], best["onednn"])
