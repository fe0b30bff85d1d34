# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What an evaluation reports, on an engine that answers with given rewards."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from areal.api.cli_args import GenerationHyperparameters
from areal.trainer.evaluation import EvalTask, Evaluation
from areal.utils import stat_keys, stats_tracker


class AnsweringEngine:
    """Every sample of a problem has the reward `data["greedy"]` or, when sampled, `data["sampled"]`; None rejects it."""

    def rollout_batch(
        self,
        data: list[dict[str, Any]],
        workflow: Any,
        workflow_kwargs: dict[str, Any],
        group_size: int,
        drop_incomplete_group: bool,
    ) -> list[dict[str, torch.Tensor]]:
        kind = "greedy" if workflow_kwargs["gconfig"].greedy else "sampled"
        stats_tracker.get("eval-rollout").scalar(reward=0.5, length=7.0)
        assert group_size == (1 if kind == "greedy" else 4)
        return [{"rewards": torch.full((group_size,), item[kind])} for item in data if item[kind] is not None]


def task_of(*items: dict[str, float | None]) -> EvalTask:
    gconfig = GenerationHyperparameters(n_samples=4)
    loader: Any = [list(items)]
    return EvalTask(loader=loader, workflow="unused", workflow_kwargs={"gconfig": None}, gconfig=gconfig)


def measure(evaluation: Evaluation, version: int, *items: dict[str, float | None]) -> dict[str, float]:
    engine: Any = AnsweringEngine()
    return evaluation.measure(engine, task_of(*items), version)


RIGHT, WRONG = {"greedy": 1.0, "sampled": 1.0}, {"greedy": 0.0, "sampled": 0.0}


def test_measure_counts_samples_of_both_decodings() -> None:
    row = measure(Evaluation(), 0, RIGHT, WRONG, {"greedy": 1.0, "sampled": 0.0})
    assert row[stat_keys.EVAL_GREEDY] == pytest.approx(2 / 3) and row[stat_keys.EVAL_GREEDY_COUNT] == 3
    assert row[stat_keys.EVAL_SAMPLED] == pytest.approx(1 / 3) and row[stat_keys.EVAL_SAMPLED_COUNT] == 12


def test_measure_returns_what_the_workflow_recorded_and_leaves_nothing_behind() -> None:
    row = measure(Evaluation(), 0, RIGHT)
    assert row["eval-rollout/length"] == 7.0 and stat_keys.EVAL_REWARD not in row
    assert stats_tracker.get("eval-rollout").export() == {}


def test_summary_before_is_the_untrained_policy_and_after_the_last_measurement() -> None:
    evaluation = Evaluation()
    measure(evaluation, 0, WRONG, WRONG)
    measure(evaluation, 3, RIGHT, WRONG)
    measure(evaluation, 5, RIGHT, RIGHT)
    resumed = Evaluation()
    resumed.load_state_dict(evaluation.state_dict())
    assert resumed.summary() == {
        "accuracy_before": {"greedy": 0.0, "sampled": 0.0, "num_problems": 2},
        "accuracy_after": {"greedy": 1.0, "sampled": 1.0, "num_problems": 2},
    }


def test_summary_first_measured_after_training_has_no_before() -> None:
    evaluation = Evaluation()
    measure(evaluation, 4, RIGHT)
    assert evaluation.summary() == {"accuracy_after": {"greedy": 1.0, "sampled": 1.0, "num_problems": 1}}


def test_measure_problem_without_a_result_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "areal.evaluation")
    row = measure(Evaluation(), 0, RIGHT, {"greedy": None, "sampled": 0.0})
    assert row[stat_keys.EVAL_GREEDY] == 1.0 and row[stat_keys.EVAL_GREEDY_COUNT] == 1
    assert "1 of 2 problems gave no result" in caplog.text
