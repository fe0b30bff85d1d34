# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a run does with mistakes and with a machine that fails it: it ends soon, says what to do, and loses nothing.

Each mistake is met where it is made (configuration, data, engines, servers) in the tests of that part; here it goes through
the trainer and the command line.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from areal import PPOTrainer
from areal.api.cli_args import load_expr_config
from areal.dataset import get_custom_dataset
from areal.trainer.train_worker import TrainWorker
from areal.utils.errors import CheckpointError, ConfigError, UserCodeError
from areal.utils.hf_utils import load_hf_tokenizer
from areal.workflow.rlvr import RLVRWorkflow
from tests.trainer.drive_run import DriveConfig, main
from tests.trainer.tiny_runs import TinyRun

Make = Callable[..., TinyRun]


class BrokenWorkflow(RLVRWorkflow):
    async def arun_episode(self, engine: Any, data: dict[str, Any]) -> Any:
        return data["solution"]


@pytest.fixture(autouse=True)
def no_server_is_left() -> Iterator[None]:
    yield
    children = psutil.Process().children(recursive=True)
    assert not [child for child in children if "areal.engine.native.server" in child.cmdline()]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"neither a registered name .* nor an existing file or folder; check dataset.path"),
        ("", r"train.jsonl is empty; expected one JSON object a line"),
        (
            '{"question": "1+1?", "answer": "#### 2"}\n{"question": ',
            r"train.jsonl:2: expected a JSON object .* correct",
        ),
        ('{"question": "1+1?", "answer": 2}\n', r"train.jsonl:1: expected text in column 'answer', got 2"),
        ('{"question": "1?", "answer": "#### 1"}\n', r"has 1 items, which gives no batch of 4 .* lower batch_size"),
        ('{"question": "%s", "answer": "#### 2"}\n' % ("1+1" * 99), r"longer than max_length=60 .* raise"),
    ],
    ids=["missing", "empty", "malformed", "not_text", "too_few", "too_long"],
)
def test_unusable_data_is_refused_before_anything_starts(
    tiny_run: Make, tmp_path: Path, content: str | None, message: str
) -> None:
    folder = tmp_path / "data"
    if content is not None:
        folder.mkdir()
        (folder / "train.jsonl").write_text(content)

    run = tiny_run("train_dataset.max_length=60", f"train_dataset.path={folder}")
    config, _ = load_expr_config(run.argv, DriveConfig)

    with pytest.raises(ConfigError, match=message):
        PPOTrainer(config, get_custom_dataset("train", config.train_dataset, load_hf_tokenizer(run.model)))

    assert not run.dir.exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("gconfig.max_new_tokens=200", r"native.max_model_len=128: expected at least 201 tokens .* raise the limit"),
        ("train_dataset.max_length=125", r"expected at least 133 tokens .* lower train_dataset.max_length"),
        ("rollout.backend=vllm:d1", r"vllm is not in this release, whether installed or not; use 'native:d1'"),
        ("actor.path=/no/such/model", r"expected a HF model .* '/no/such/model', got: .* check actor.path"),
        ("cluster.fileroot=/proc/none", r"cluster.fileroot: expected a directory to write to, got '/proc/none'"),
        ("actor.optimizer=null", r"actor.optimizer: expected an optimizer to train with, got null; set"),
    ],
)
def test_unusable_settings_are_refused_before_anything_starts(tiny_run: Make, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        main(tiny_run(override).argv)


def test_command_line_shows_a_mistake_without_a_traceback(tiny_run: Make) -> None:
    run = tiny_run("actor.lrr=1")

    with run.start() as started:
        assert started.wait() == 2

    assert "drive_run.py: actor.lrr: no such setting." in run.output()
    assert "Traceback" not in run.output()


@pytest.mark.parametrize(
    ("setting", "cause"),
    [
        ("reward_fn=tests.trainer.tiny_rewards.raising_reward", "raising_reward failed with KeyError: .*'solution'"),
        ("workflow=tests.trainer.test_bad_input.BrokenWorkflow", "arun_episode failed with KeyError: 'solution'"),
    ],
    ids=["reward", "workflow"],
)
def test_user_code_that_always_raises_stops_the_run_with_its_cause(tiny_run: Make, setting: str, cause: str) -> None:
    run = tiny_run(setting, "rollout.max_repeated_failures=3")

    with pytest.raises(UserCodeError, match=rf"(?s){cause}.*3 episodes in a row failed this way") as caught:
        main(run.argv)

    assert "Traceback" in str(caught.value), "the user needs the line in their code"
    summary = json.loads((run.dir / "summary.json").read_text())
    assert summary["status"] == "failed" and "KeyError" in summary["cause"]


def test_disk_full_at_a_checkpoint_stops_with_numbers_and_loses_nothing_saved(
    tiny_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run()
    _, hard_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    save_state = TrainWorker.save_state

    def save_on_a_disk_that_fills_up(worker: TrainWorker, path: str) -> None:
        if (run.checkpoints / "recover" / "LATEST").exists():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard_limit))  # bytes: less than the model has
        save_state(worker, path)

    monkeypatch.setattr(TrainWorker, "save_state", save_on_a_disk_that_fills_up)
    try:
        with pytest.raises(CheckpointError, match=r"full; expected room for .* bytes, got [\d,]+ free.* Free space"):
            main(run.argv)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard_limit, hard_limit))

    assert len(run.rows()) == 4
    assert json.loads((run.dir / "summary.json").read_text())["status"] == "failed"
    assert (run.checkpoints / "recover" / "LATEST").read_text().strip() == "step_1"
    assert {path.name for path in (run.checkpoints / "recover").iterdir()} == {"LATEST", "step_1"}
    monkeypatch.setattr(TrainWorker, "save_state", save_state)
    main(run.argv)
    assert [row["global_step"] for row in run.rows()] == list(range(8))
