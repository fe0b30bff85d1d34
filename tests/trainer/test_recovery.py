# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Trainer, server and ranks are killed (-9) at many points of a run; the same command then ends as if nothing had been.

Deterministic runs are compared bit for bit with one that nobody disturbed, asynchronous ones by what they trained on.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from areal import SFTTrainer
from areal.api.cli_args import SFTConfig, load_expr_config
from areal.dataset import get_custom_dataset
from areal.trainer.train_worker import LMWorker
from areal.utils.hf_utils import load_hf_tokenizer
from tests.trainer.tiny_runs import BATCH_SIZE, NUM_STEPS, TinyRun

Make = Callable[..., TinyRun]

PUBLISH = "areal.trainer.inference:Inference.publish"
SAVE_STATE = "areal.trainer.train_worker:TrainWorker.save_state"
COMMIT = "areal.utils.stats_logger:StatsLogger.commit"
TRAIN_ON = "areal.trainer.train_worker:ActorWorker.train_on"
LOAD_WEIGHTS = "areal.infra.server_fleet:ServerFleet._load_all"

COMPUTED = ("ppo_actor/", "invariants/data_order/", "invariants/denominators/", "global_step", "version")
"""Statistics that do not depend on when a step ran, nor on what is only measured by the way (the log-prob probe)."""


def numbers(run: TinyRun) -> list[dict[str, Any]]:
    """What each step computed: losses, gradient norms, rewards, hashes of the sample order; some seventy numbers."""
    return [{key: value for key, value in row.items() if key.startswith(COMPUTED)} for row in run.rows()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> TinyRun:
    run = TinyRun(tmp_path_factory.mktemp("undisturbed"), tiny_model)
    run.run()
    rows = numbers(run)
    assert [row["global_step"] for row in rows] == list(range(NUM_STEPS))
    assert len({row["ppo_actor/update/grad_norm"] for row in rows}) == NUM_STEPS, "the run learns, step by step"
    assert rows[-1]["invariants/data_order/chain"] > 0
    return run


def test_trainer_killed_again_and_again_ends_with_the_same_numbers(tiny_run: Make, undisturbed: TinyRun) -> None:
    run = tiny_run()

    run.run(kill=f"trainer:{PUBLISH}@3")  # step 2 is trained and on the servers, but its row is not written
    assert len(run.rows()) == 2
    run.run(kill=f"trainer:{SAVE_STATE}@1")  # steps 2 and 3 are done; their checkpoint has no manifest yet
    assert len(run.rows()) == 4
    run.run(kill=f"trainer:{COMMIT}@3")  # the row of step 4 is written, no checkpoint is due: the row must go again
    assert len(run.rows()) == 5
    with run.start() as started:  # anywhere in steps 4 to 7
        started.wait_for_row(6)
        time.sleep(random.Random(0).uniform(0, 0.3))
    output = run.run()

    assert numbers(run) == numbers(undisturbed)
    assert run.consumed() == undisturbed.consumed()
    assert "resuming at step 2 of 8" in output and "resuming at step 4 of 8" in output


def test_asynchronous_trainer_killed_trains_each_sample_once(tiny_run: Make) -> None:
    run = tiny_run("rollout.max_head_offpolicyness=2", "rollout.deterministic_sampling=false", "native.max_num_seqs=16")

    with run.start() as started:
        started.wait_for_row(3)
        time.sleep(random.Random(1).uniform(0, 0.3))
    run.run()

    rows, consumed = run.rows(), run.consumed()
    assert [row["global_step"] for row in rows] == list(range(NUM_STEPS))
    assert {row["invariants/data_order/violations"] for row in rows} == {0.0}
    assert max(row["rollout/lag_max"] for row in rows) <= 2
    trained = [task_id for step in range(NUM_STEPS) for task_id in consumed[step]]
    assert len(trained) == len(set(trained)) == NUM_STEPS * BATCH_SIZE
    assert max(trained) < (NUM_STEPS + 2) * BATCH_SIZE, "samples in flight at a kill are not skipped"


def test_server_killed_in_training_and_in_a_weight_update_changes_no_number(
    tiny_run: Make, undisturbed: TinyRun
) -> None:
    run = tiny_run()

    output = run.run(kill=f"server:{TRAIN_ON}@-3 server:{LOAD_WEIGHTS}@-5")

    assert numbers(run) == numbers(undisturbed)
    assert run.consumed() == undisturbed.consumed()
    assert output.count("ended with signal SIGKILL (9)") == output.count("server 0 is back") == 2


def test_rank_killed_stops_the_run_with_the_cause_and_the_same_command_goes_on(
    tiny_run: Make, undisturbed: TinyRun
) -> None:
    run = tiny_run("actor.backend=fsdp:d2")

    with run.start() as started:
        started.wait_for_row(3)
        fork_server_and_ranks = started.children("areal.infra.workers")
        ranks = [process for process in fork_server_and_ranks if process.parent() in fork_server_and_ranks]
        assert len(ranks) == 2
        ranks[1].kill()
        assert started.wait() == 1
    assert "WorkerDied" in run.output() and "signal SIGKILL (9)" in run.output()
    summary = json.loads((run.dir / "summary.json").read_text())
    assert summary["status"] == "failed" and "WorkerDied" in summary["cause"]
    run.run()

    assert run.consumed() == undisturbed.consumed()
    norms, expected = ([row["ppo_actor/update/grad_norm"] for row in r.rows()] for r in (run, undisturbed))
    assert norms == pytest.approx(expected, rel=1e-4), "one rank and two add up in another order"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_the_run_in_order_and_the_same_command_goes_on(
    tiny_run: Make, undisturbed: TinyRun, number: signal.Signals, code: int
) -> None:
    run = tiny_run()

    with run.start() as started:
        started.wait_for_row(3)
        started.process.send_signal(number)
        assert started.wait() == code
    lines = run.output().splitlines()
    assert lines[-1] == f"drive_run.py: interrupted by {number.name}"
    assert "Traceback" not in run.output() and "ERROR" not in run.output()
    summary = json.loads((run.dir / "summary.json").read_text())
    assert (summary["status"], summary["cause"]) == ("interrupted", f"Interrupted: {number.name}")
    assert summary["num_steps"] == len(run.rows()) >= 3
    run.run()

    assert numbers(run) == numbers(undisturbed)
    assert run.consumed() == undisturbed.consumed()
    assert json.loads((run.dir / "summary.json").read_text())["status"] == "finished"


def test_finished_run_is_left_alone(undisturbed: TinyRun) -> None:
    names = ("stats.jsonl", "summary.json", "config.yaml")
    before = [(undisturbed.dir / name).read_bytes() for name in names]

    output = undisturbed.run()

    assert "the run is finished: all 8 steps are done" in output
    assert "choose another trial_name" in output
    assert [(undisturbed.dir / name).read_bytes() for name in names[:2]] == before[:2]
    assert json.loads(before[1])["status"] == "finished"


SFT_CONFIG = """\
experiment_name: tiny
trial_name: run
total_train_epochs: 3
train_dataset: {path: arithmetic, type: sft, batch_size: 4, dataset_kwargs: {size: 12}}
actor:
  dtype: float32
  optimizer: {lr: 1.0e-2, warmup_steps: 2, lr_scheduler_type: cosine}
recover: {mode: "on", freq_steps: 2}
"""


def fine_tune(fileroot: Path, model: str) -> list[float]:
    """A user's script of supervised fine-tuning: 9 steps, an export at the end; returns the losses on record."""
    fileroot.mkdir(exist_ok=True)
    (fileroot / "sft.yaml").write_text(SFT_CONFIG)
    argv = ["--config", str(fileroot / "sft.yaml"), f"cluster.fileroot={fileroot}", f"actor.path={model}"]
    config, _ = load_expr_config(argv, SFTConfig)
    dataset = get_custom_dataset("train", config.train_dataset, load_hf_tokenizer(config.tokenizer_path))
    with SFTTrainer(config, dataset) as trainer:
        trainer.train()
        trainer.save_model(fileroot / "export")
    return [row["sft/loss/avg"] for row in TinyRun(fileroot, model).rows()]


def test_fine_tuning_stopped_in_an_epoch_goes_on_with_the_same_losses_and_exports(
    tmp_path: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fine_tune(tmp_path / "undisturbed", tiny_model)
    with monkeypatch.context() as patch:
        patch.setattr(LMWorker, "save_state", raise_at_call(3, LMWorker.save_state))
        with pytest.raises(KeyboardInterrupt):
            fine_tune(tmp_path / "stopped", tiny_model)

    assert fine_tune(tmp_path / "stopped", tiny_model) == expected
    assert len(expected) == len(set(expected)) == 9

    shutil.rmtree(tmp_path / "stopped" / "export")  # as if it had been killed between the last step and the export
    assert fine_tune(tmp_path / "stopped", tiny_model) == expected
    first, second = (load_file(tmp_path / run / "export" / "model.safetensors") for run in ("undisturbed", "stopped"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def raise_at_call(number: int, method: Callable[..., None]) -> Callable[..., None]:
    calls = itertools.count(1)

    def counted(*args: Any) -> None:
        if next(calls) == number:
            raise KeyboardInterrupt
        method(*args)

    return counted
