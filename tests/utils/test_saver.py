# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from areal.api.cli_args import EvaluatorConfig, SaverConfig
from areal.api.io_struct import FinetuneSpec
from areal.utils.errors import CheckpointError
from areal.utils.evaluator import Evaluator
from areal.utils.saver import Saver

FT_SPEC = FinetuneSpec(total_train_epochs=2, dataset_size=40, train_batch_size=10)  # 4 steps an epoch


def make_saver(root: Path, **frequency: int | None) -> Saver:
    return Saver(SaverConfig(experiment_name="exp", trial_name="t0", fileroot=str(root), **frequency), FT_SPEC)


def export(path: str) -> None:
    assert not Path(path).exists()
    Path(path).mkdir()
    (Path(path) / "model.safetensors").write_text("weights")


def run(saver: Saver, name: str, steps: range) -> list[int]:
    return [step for step in steps if saver.save(export, step // 4, step % 4, step, name)]


def test_save_fires_by_steps_and_writes_whole_directories(tmp_path: Path) -> None:
    saver = make_saver(tmp_path, freq_steps=3)

    assert run(saver, "default", range(8)) == [2, 5]
    path = saver.save_path(1, 1, 5)
    assert path.name == "epoch1epochstep1globalstep5"
    assert (path / "model.safetensors").exists()
    assert path.parent.name == "default"


def test_save_fires_by_epochs_on_the_last_step(tmp_path: Path) -> None:
    assert run(make_saver(tmp_path, freq_epochs=1), "default", range(8)) == [3, 7]


def test_names_have_frequencies_of_their_own(tmp_path: Path) -> None:
    saver = make_saver(tmp_path, freq_steps=2)

    fired = [
        (step, name)
        for step in range(4)
        for name in ("actor", "critic")
        if saver.save(export, 0, step, step, name) is not None
    ]

    assert fired == [(1, "actor"), (1, "critic"), (3, "actor"), (3, "critic")]


def test_final_step_is_saved_although_not_due(tmp_path: Path) -> None:
    saver = make_saver(tmp_path)

    assert saver.save(export, 0, 0, 0) is None
    assert saver.save(export, 0, 1, 1, final=True) == saver.save_path(0, 1, 1)


def test_keep_last_removes_the_oldest_exports_of_the_name_only(tmp_path: Path) -> None:
    saver = make_saver(tmp_path, freq_steps=1, keep_last=2)
    run(saver, "critic", range(1))
    (saver.save_path(0, 0, 0).parent / "notes").mkdir(parents=True)

    run(saver, "default", range(5))

    kept = {path.name for path in saver.save_path(0, 0, 0).parent.iterdir()}
    assert kept == {"epoch0epochstep3globalstep3", "epoch1epochstep0globalstep4", "notes"}
    assert saver.save_path(0, 0, 0, "critic").exists()


def test_failed_export_leaves_the_previous_one_and_no_temporary(tmp_path: Path) -> None:
    saver = make_saver(tmp_path, freq_steps=1, keep_last=1)
    run(saver, "default", range(1))

    def fill_the_disk(path: str) -> None:
        Path(path).mkdir()
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match="is full"):
        saver.save(fill_the_disk, 0, 1, 1)
    assert [path.name for path in saver.save_path(0, 0, 0).parent.iterdir()] == ["epoch0epochstep0globalstep0"]


def test_path_helper_creates_nothing(tmp_path: Path) -> None:
    make_saver(tmp_path).save_path(0, 0, 0)

    assert list(tmp_path.iterdir()) == []


def test_saver_continues_its_progress_after_a_restart(tmp_path: Path) -> None:
    first = make_saver(tmp_path, freq_steps=3)
    run(first, "actor", range(2))
    second = make_saver(tmp_path, freq_steps=3)
    second.load_state_dict(first.state_dict())

    assert run(second, "actor", range(2, 6)) == [2, 5]


def test_changed_frequency_wins_over_the_restored_state(tmp_path: Path) -> None:
    first = make_saver(tmp_path, freq_steps=100)
    run(first, "actor", range(1))
    second = make_saver(tmp_path, freq_steps=2)
    second.load_state_dict(first.state_dict())

    assert run(second, "actor", range(1, 6)) == [1, 3, 5]


def test_state_of_a_name_not_saved_since_the_restart_is_kept(tmp_path: Path) -> None:
    first = make_saver(tmp_path, freq_steps=3)
    run(first, "critic", range(1))
    second = make_saver(tmp_path, freq_steps=3)
    second.load_state_dict(first.state_dict())

    assert second.state_dict() == first.state_dict() | {"critic": second.state_dict()["critic"]}


def make_evaluator(**settings: int | bool) -> Evaluator:
    return Evaluator(EvaluatorConfig(**settings), FT_SPEC)


def test_evaluate_before_train_runs_once_and_before_any_step() -> None:
    evaluator = make_evaluator(freq_steps=2, eval_before_train=True)
    calls: list[str] = []

    ran = [evaluator.evaluate_before_train(lambda: calls.append("before")) for _ in range(2)]
    steps = [step for step in range(4) if evaluator.evaluate(lambda: calls.append("step"), 0, step, step)]

    assert ran == [True, False]
    assert steps == [1, 3]
    assert calls == ["before", "step", "step"]


def test_evaluate_final_step_runs_whatever_the_frequency() -> None:
    for settings in ({}, {"freq_steps": 4}):
        evaluator = make_evaluator(**settings)
        ran = [evaluator.evaluate(lambda: None, 0, step, step, final=step == 2) for step in range(3)]
        assert ran == [False, False, True]


def test_resumed_run_does_not_evaluate_before_train_and_keeps_its_rhythm() -> None:
    first = make_evaluator(freq_steps=3, eval_before_train=True)
    first.evaluate_before_train(lambda: None)
    first.evaluate(lambda: None, 0, 0, 0)
    second = make_evaluator(freq_steps=3, eval_before_train=True)
    second.load_state_dict(first.state_dict())

    assert not second.evaluate_before_train(lambda: pytest.fail("already evaluated"))
    assert [step for step in range(1, 6) if second.evaluate(lambda: None, 0, step, step)] == [2, 5]


def test_evaluate_fires_at_epoch_ends() -> None:
    evaluator = make_evaluator(freq_epochs=1)

    assert [s for s in range(8) if evaluator.evaluate(lambda: None, s // 4, s % 4, s)] == [3, 7]


def test_save_with_finish_waits_for_the_last_export_before_the_next_and_at_the_end(tmp_path: Path) -> None:
    saver = make_saver(tmp_path, freq_steps=1, keep_last=2)
    writing: list[str] = []
    events: list[str] = []

    def begin(path: str) -> None:
        writing.append(path)
        events.append("begin")

    def finish() -> None:
        path = writing.pop()
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        export(path)
        events.append("finish")

    for step in range(3):
        saver.save(begin, 0, step, step, final=step == 2, finish=finish)

    assert events == ["begin", "finish", "begin", "finish", "begin", "finish"]
    assert sorted(path.name for path in (saver.save_path(0, 0, 0).parent).iterdir()) == [
        "epoch0epochstep1globalstep1",
        "epoch0epochstep2globalstep2",
    ]


def test_save_with_finish_raises_what_went_wrong_with_the_last_export(tmp_path: Path) -> None:
    saver = make_saver(tmp_path, freq_steps=1)

    def finish() -> None:
        raise CheckpointError("disk full")

    saver.save(lambda path: None, 0, 0, 0, finish=finish)
    with pytest.raises(CheckpointError, match="disk full"):
        saver.save(export, 0, 1, 1, finish=finish)
