# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainer.tiny_runs import TinyRun, save_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def tiny_run(tmp_path: Path, tiny_model: str) -> Callable[..., TinyRun]:
    """`tiny_run(*overrides)`: a trial of its own."""
    return lambda *overrides: TinyRun(tmp_path, tiny_model, overrides)
