# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Runs of a model of 20 000 parameters on a few sums, as processes of their own: what recovery and bad input are tested on.

A run takes a tenth of a second a step and several seconds to import its libraries, so tests start few and look at much.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from areal.dataset.small_tokenizer import build_arithmetic_tokenizer
from areal.utils import names
from areal.utils.jsonl import read_jsonl

DRIVER = Path(__file__).with_name("drive_run.py")
ROOT = Path(__file__).parents[2]
NUM_STEPS = 8
BATCH_SIZE = 4
RUN_DEADLINE_S = 120.0
"""Many times what a run takes on an idle machine."""

CONFIG = f"""\
experiment_name: tiny
trial_name: run
seed: 1
total_train_epochs: 4
total_train_steps: {NUM_STEPS}
tokenizer_path: ${{actor.path}}
cluster: {{fileroot: runs}}
train_dataset: {{path: arithmetic, type: rl, batch_size: {BATCH_SIZE}}}
gconfig: {{n_samples: 2, max_new_tokens: 8, max_tokens: 128}}
rollout: {{backend: "native:d1", max_head_offpolicyness: 0, deterministic_sampling: true}}
# One sequence at a time: products of another number of rows round differently, and arrival decides the number.
native: {{max_num_seqs: 1, max_model_len: 128}}
actor:
  backend: fsdp:d1
  path: model
  dtype: float32
  optimizer: {{type: adam, lr: 1.0e-3, weight_decay: 0.0, warmup_steps: 2, lr_scheduler_type: linear}}
  ppo_n_minibatches: 1
  reward_norm: {{mean_level: group, std_level: group}}
recover: {{mode: "on", freq_steps: 2}}
"""


def save_tiny_model(folder: Path) -> str:
    """A random Qwen2 with the tokenizer of the arithmetic task."""
    tokenizer = build_arithmetic_tokenizer(folder, vocab_size=300)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return str(folder)


@dataclass(frozen=True)
class TinyRun:
    """One trial: the same command every time, and what it leaves on the disk."""

    fileroot: Path
    model: str
    overrides: tuple[str, ...] = ()

    @property
    def argv(self) -> list[str]:
        """Arguments of the driver."""
        config = self.fileroot / "config.yaml"
        config.write_text(CONFIG)
        return [
            "--config",
            str(config),
            f"cluster.fileroot={self.fileroot}",
            f"actor.path={self.model}",
            *self.overrides,
        ]

    @property
    def dir(self) -> Path:
        """RUN_DIR."""
        return names.log_dir(str(self.fileroot), "tiny", "run")

    @property
    def checkpoints(self) -> Path:
        """Directory of the trial's checkpoints."""
        return names.checkpoint_root(str(self.fileroot), "tiny", "run")

    def start(self, kill: str = "", **env: str) -> Started:
        """Give the command; `kill` is `DRIVE_KILL` of the driver."""
        output = (self.fileroot / "output.txt").open("ab")
        variables = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "DRIVE_KILL": kill, **env}
        command = [sys.executable, str(DRIVER), *self.argv]
        with output:
            return Started(
                self, subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **variables})
            )

    def run(self, kill: str = "") -> str:
        """Give the command and wait for its end; returns what all starts so far wrote."""
        with self.start(kill) as started:
            returncode = started.wait()
        assert returncode == (-9 if kill.startswith("trainer") else 0), self.output()
        return self.output()

    def output(self) -> str:
        """What all starts so far wrote."""
        return (self.fileroot / "output.txt").read_text()

    def rows(self) -> list[dict[str, Any]]:
        """The rows of stats.jsonl."""
        path = self.dir / "stats.jsonl"
        return read_jsonl(path)[0] if path.exists() else []

    def consumed(self) -> dict[int, list[int]]:
        """Step -> task ids trained on, as of the last time the step was done."""
        return {record["step"]: record["task_ids"] for record in read_jsonl(self.fileroot / "consumed.jsonl")[0]}


class Started:
    """A running command; on exit of the `with` block it and all processes it ever had are gone, or the test fails."""

    def __init__(self, run: TinyRun, process: subprocess.Popen[bytes]) -> None:
        self.run = run
        self.process = process
        self._family: set[psutil.Process] = set()

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.look()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        _, alive = psutil.wait_procs(self._family, timeout=10)
        for process in alive:
            process.kill()
        assert not alive, f"outlived the trainer by 10 s: {alive}"

    def look(self) -> set[psutil.Process]:
        """All descendants there are now; they are remembered."""
        if self.process.poll() is None:
            self._family |= set(psutil.Process(self.process.pid).children(recursive=True))
        return self._family

    def ticks(self) -> Iterator[float]:
        """Seconds since now, a hundred times a second, until the command ends; the test fails at the deadline."""
        began_s = time.monotonic()
        for tick in itertools.count():
            elapsed_s = time.monotonic() - began_s
            assert elapsed_s < RUN_DEADLINE_S, f"the run hangs:\n{self.run.output()}"
            if self.process.poll() is not None:
                return
            if tick % 10 == 0:
                self.look()
            yield elapsed_s
            time.sleep(0.01)

    def wait(self) -> int:
        """The return code (negative: a signal)."""
        for _ in self.ticks():
            pass
        return self.process.wait()

    def wait_for_row(self, num_rows: int) -> None:
        """Return once the run has recorded so many steps; the test fails when it ends before."""
        for _ in self.ticks():
            if len(self.run.rows()) >= num_rows:
                return
        raise AssertionError(f"the run ended before row {num_rows}:\n{self.run.output()}")

    def children(self, needle: str) -> list[psutil.Process]:
        """Living descendants whose command line holds `needle`."""
        found = []
        for process in self.look():
            try:
                if needle in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found
