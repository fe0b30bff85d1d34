# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The demo in small: few steps of its warm start and, from random weights, few of its GRPO."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from areal.utils import stat_keys as keys
from areal.utils.hf_utils import no_progress_bars
from tests.examples.commands import ROOT, rows_and_summary, run

FOLDER = ROOT / "examples" / "arithmetic"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The demo's model before its warm start: a config and a tokenizer."""
    path = str(tmp_path_factory.mktemp("scratch"))
    runpy.run_path(str(FOLDER / "train.py"), run_name="example")["make_model"](path)
    return path


def test_warm_start_learns_from_random_weights(tmp_path: Path, scratch: str) -> None:
    command = ["examples/math/gsm8k_sft.py", "--config", str(FOLDER / "sft.yaml"), f"actor.path={scratch}"]
    run([*command, f"cluster.fileroot={tmp_path}", "total_train_steps=15", "train_dataset.dataset_kwargs.size=480"])
    rows, summary = rows_and_summary(tmp_path, "arithmetic-sft", "seed0")
    assert summary["status"] == "finished" and len(rows) == 15
    assert rows[-1][keys.SFT_LOSS] < rows[0][keys.SFT_LOSS] - 1.0


@pytest.mark.slow
def test_demo_trains_from_whatever_the_warm_start_left(tmp_path: Path, scratch: str) -> None:
    torch.manual_seed(0)
    with no_progress_bars():
        AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(scratch)).save_pretrained(scratch)
    command = ["examples/arithmetic/train.py", "--config", str(FOLDER / "grpo.yaml"), f"actor.path={scratch}"]
    short = ["total_train_steps=3", "valid_dataset.dataset_kwargs.size=16", "train_dataset.dataset_kwargs.size=64"]
    run([*command, f"cluster.fileroot={tmp_path}", *short])
    rows, summary = rows_and_summary(tmp_path, "arithmetic", "seed0")
    assert summary["status"] == "finished" and len(rows) == 3
    assert summary["accuracy_before"]["num_problems"] == 16 and "greedy" in summary["accuracy_after"]
