# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from areal.dataset.arithmetic import make_problems
from areal.utils import stats_tracker
from tests.examples.commands import ROOT, commands_of, run

REAL_GSM8K = ROOT.parent / "shared" / "data" / "gsm8k"


@pytest.fixture(scope="session")
def gsm8k_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GSM8K where it lies beside the checkout; otherwise generated problems in its format."""
    if REAL_GSM8K.is_dir():
        return REAL_GSM8K
    folder = tmp_path_factory.mktemp("gsm8k")
    for split in ("train", "test"):
        problems = make_problems(split, "sft", 200)
        records = [{"question": problem.question, "answer": problem.worked_answer} for problem in problems]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, gsm8k_dir: Path) -> str:
    """What the README's `make_tiny_model.py` command makes."""
    (command,) = commands_of(ROOT / "README.md", "make_tiny_model.py")
    path = str(tmp_path_factory.mktemp("model"))
    run([word.replace("runs/tiny", path).replace("path/to/gsm8k", str(gsm8k_dir)) for word in command])
    return path


@pytest.fixture(autouse=True)
def own_statistics() -> Iterator[None]:
    """What other tests recorded in this process is not part of a run."""
    stats_tracker.export_all()
    yield
    stats_tracker.export_all()
