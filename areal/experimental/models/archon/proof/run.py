# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the checks of a family. Called by tests, by `areal archon check` and by the scaffolder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedConfig
from transformers.utils import logging as transformers_logging

from areal.experimental.models.archon.model_spec import ModelSpec, get_model_spec
from areal.experimental.models.archon.proof.case import Case, CheckResult
from areal.experimental.models.archon.proof.checks import CHECKS, Check
from areal.experimental.models.archon.proof.tiny import tiny_configs
from areal.utils.errors import ArealError

# What a wrong family raises while it is read, built, filled or run: a failed check, not the end of the proof.
_FAILURES = (ArealError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)


def prove(
    model_type: str,
    *,
    configs: Sequence[PreTrainedConfig] | None = None,
    seeds: Sequence[int] = (0,),
    checks: Mapping[str, Check] = CHECKS,
) -> list[CheckResult]:
    """All checks of a family on tiny configs of a `model_type` (or on the given ones) and on each seed."""
    spec = get_model_spec(model_type)
    configs = tiny_configs(model_type) if configs is None else configs
    return [
        result
        for index, config in enumerate(configs)
        for seed in seeds
        for result in prove_config(spec, config, seed=seed, label=f"{model_type}[{index}]", checks=checks)
    ]


def prove_config(
    spec: ModelSpec,
    config: PreTrainedConfig,
    *,
    seed: int = 0,
    label: str = "",
    checks: Mapping[str, Check] = CHECKS,
) -> list[CheckResult]:
    """All checks of one spec on one config; a check that raises has failed, and the others still run."""
    with tempfile.TemporaryDirectory(prefix="areal-proof-") as folder, _quiet(), _one_thread():
        case = Case(spec, config, Path(folder), seed=seed, label=label)
        return [_outcome(name, check, case) for name, check in checks.items()]


def _outcome(name: str, check: Check, case: Case) -> CheckResult:
    try:
        return check(case)
    except _FAILURES as error:
        detail = f"{type(error).__name__}: {error}"
        return CheckResult(name=name, config=case.label, passed=False, detail=detail)


@contextmanager
def _one_thread() -> Iterator[None]:
    """On tensors this small, handing work to threads takes longer than the work."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bars and warnings about tiny configs."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        transformers_logging.enable_progress_bar()
