# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The frame of a run without anything trained in it, on a clock of its own."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from areal.api.cli_args import (
    ClusterSpecConfig,
    RecoverConfig,
    SFTConfig,
    TrainDatasetConfig,
    TrainEngineConfig,
)
from areal.api.io_struct import FinetuneSpec
from areal.trainer import run as run_module
from areal.trainer.run import TrainingRun
from areal.utils import stat_keys as keys
from areal.utils.jsonl import read_jsonl

NUM_STEPS = 4


class Clock:
    """Time that passes only when told to."""

    now_s = 100.0

    def read(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(run_module, "time", SimpleNamespace(perf_counter=clock.read, monotonic=clock.read))
    return clock


def make_run(tmp_path: Path) -> TrainingRun:
    config = SFTConfig(
        experiment_name="exp",
        trial_name="t",
        cluster=ClusterSpecConfig(fileroot=str(tmp_path)),
        actor=TrainEngineConfig(path="some-model"),
        train_dataset=TrainDatasetConfig(path="data", batch_size=2),
        recover=RecoverConfig(mode="on", freq_steps=1),
    )
    spec = FinetuneSpec(total_train_epochs=1, dataset_size=2 * NUM_STEPS, train_batch_size=2)
    return TrainingRun(config, spec, {"model": "some-model"})


def drive(run: TrainingRun, clock: Clock, stop_after: int | None = None) -> list[int]:
    """Steps of 10 s: 4 s wait, then rollouts in flight for 3 of 6 s of work; 30 trained of 50 tokens. Evaluated steps."""
    evaluated: list[int] = []
    with run:
        run.resume({}, {})
        for step in run.steps():
            if step.global_step == stop_after:
                raise RuntimeError("the disk burns")
            with run.timed("update_weights"):
                clock.now_s += 10.0
            row: dict[str, Any] = {keys.ROLLOUT_S: 4.0, keys.GENERATION_S: 7.0, keys.SFT_NUM_TRAINED_TOKENS: 30.0}
            run.evaluate_and_save(step, lambda step=step: evaluated.append(step.global_step), make_export)
            run.commit(step, row, num_tokens=50)
            run.checkpoint(step, {}, {}, {})
    return evaluated


def make_export(path: str) -> None:
    Path(path).mkdir()


def summary_of(run: TrainingRun) -> dict[str, Any]:
    return json.loads((run.dir / keys.SUMMARY_FILE).read_text())


def test_finished_run_sums_itself_up_and_says_where_to_look(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path)
    drive(run, clock)
    summary = summary_of(run)
    assert (summary["status"], summary["num_steps"], summary["num_trained_tokens"]) == ("finished", NUM_STEPS, 120)
    assert (summary["wall_s"], summary["tokens_per_s"]) == (40.0, 5.0)
    # The evaluation of the last step does nothing, on a true clock: microseconds.
    assert summary["trainer_wait_share"] == pytest.approx(0.4, abs=1e-3)
    assert summary["overlap_share"] == pytest.approx(0.5, abs=1e-3)
    assert (summary["seed"], summary["model"]) == (1, "some-model")
    lines = capsys.readouterr().out.splitlines()
    assert lines[NUM_STEPS].startswith("finished: 4 steps in 40.0s | 5 tok/s | trainer waited 40% of the time")
    assert lines[-1] == f"for curves, time line and rollouts: areal report {run.dir}"


def test_commit_steps_add_up_with_what_happens_between_them(tmp_path: Path, clock: Clock) -> None:
    run = make_run(tmp_path)
    with run:
        run.resume({}, {})
        for step in run.steps():
            clock.now_s += 1.0
            run.commit(step, {}, num_tokens=1)
            clock.now_s += 0.5  # a checkpoint
    rows, _ = read_jsonl(run.dir / keys.STATS_FILE)
    assert [row[keys.STEP_S] for row in rows] == [1.0, 1.5, 1.5, 1.5]


def test_commit_records_the_phases_that_this_process_timed(tmp_path: Path, clock: Clock) -> None:
    run = make_run(tmp_path)
    drive(run, clock)
    rows, _ = read_jsonl(run.dir / keys.STATS_FILE)
    assert all({keys.SYNC_S, keys.EVAL_S, "timeperf/save"} <= row.keys() for row in rows)


def test_last_step_is_evaluated_and_exported_whatever_the_frequencies(tmp_path: Path, clock: Clock) -> None:
    run = make_run(tmp_path)
    assert drive(run, clock) == [NUM_STEPS - 1]
    assert run.saver.save_path(0, NUM_STEPS - 1, NUM_STEPS - 1).is_dir()


def test_failed_run_keeps_its_cause_and_the_resumed_one_counts_both_parts(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = make_run(tmp_path)
    with pytest.raises(RuntimeError):
        drive(failed, clock, stop_after=3)
    summary = summary_of(failed)
    assert (summary["status"], summary["cause"]) == ("failed", "RuntimeError: the disk burns")
    assert "failed: 3 steps in 30.0s" in capsys.readouterr().out
    clock.now_s += 1e6  # nobody worked on it
    resumed = make_run(tmp_path)
    drive(resumed, clock)
    summary = summary_of(resumed)
    assert (summary["status"], summary["num_steps"], summary["num_trained_tokens"]) == ("finished", NUM_STEPS, 120)
    assert summary["wall_s"] == 40.0 and "cause" not in summary
    assert summary["overlap_share"] == pytest.approx(0.5, abs=1e-3)
