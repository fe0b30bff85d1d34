# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import json
import math
from pathlib import Path

import pytest
import torch

from areal.utils.rollout_dump import (
    choose_best_and_worst,
    dump_step,
    dump_trajectory,
    make_records,
    sample_scores,
    step_path,
)


class Letters:
    """A tokenizer whose token i is the i-th letter."""

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(ord("a") + i) for i in ids)


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Two samples of 5 and 3 tokens, prompts of 2 and 1, in prediction alignment."""
    logprobs = torch.tensor([[0.0, -1.0, -2.0, -3.0, 0.0], [-0.5, -0.25, 0.0, 0.0, 0.0]])
    return {
        "input_ids": torch.tensor([[0, 1, 2, 3, 4], [5, 6, 7, 0, 0]]),
        "attention_mask": torch.tensor([[True] * 5, [True] * 3 + [False] * 2]),
        "loss_mask": torch.tensor([[0.0, 1, 1, 1, 0], [1.0, 1, 0, 0, 0]]),
        "logprobs": logprobs,
        "prox_logp": logprobs + 0.5,
        "advantages": torch.tensor([[0.0, 2.0, 2.0, 2.0, 0.0], [-1.0, -1.0, 0.0, 0.0, 0.0]]),
        "versions": torch.tensor([[-1, 3, 3, 4, -1], [4, 4, -1, -1, -1]]),
        "rewards": torch.tensor([1.0, 0.0]),
        "task_ids": torch.tensor([17, 17]),
        "truncated": torch.tensor([False, True]),
    }


def test_choose_alternates_best_and_worst_without_repeats() -> None:
    assert choose_best_and_worst([0.0, 3.0, 1.0, 2.0, -1.0], 10) == [
        (1, "best"),
        (4, "worst"),
        (3, "best"),
        (0, "worst"),
        (2, "best"),
    ]
    assert choose_best_and_worst([1.0, 1.0], 1) == [(0, "best")]
    assert choose_best_and_worst([], 4) == []


def test_choose_of_equal_rewards_the_ends_are_those_pushed_most(batch: dict[str, torch.Tensor]) -> None:
    flat = {"rewards": torch.ones(2), "advantages": torch.zeros(2, 4)}
    mixed = {
        "rewards": torch.tensor([1.0, 0.0]),
        "advantages": torch.tensor([[0.0, 0.5, 0.5, 0.0], [-1.0, -1.0, 0, 0]]),
    }
    scores = sample_scores([flat, mixed])
    assert scores == [(1.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, -2.0)]
    assert choose_best_and_worst(scores, 2) == [(2, "best"), (3, "worst")]


def test_make_records_sample_taken_out_of_its_group_keeps_its_place(batch: dict[str, torch.Tensor]) -> None:
    alone = {key: value[1:] for key, value in batch.items()} | {"sample_idx": torch.tensor([1])}
    assert make_records([alone], Letters(), step=0)[0]["sample_idx"] == 1


def test_make_records_moves_predictions_to_their_tokens(batch: dict[str, torch.Tensor]) -> None:
    best, worst = make_records([batch], Letters(), step=12)
    assert (best["pick"], best["reward"], best["task_id"], best["step"]) == ("best", 1.0, 17, 12)
    assert (best["prompt"], best["completion"], best["prompt_len"], best["seqlen"]) == ("ab", "cde", 2, 5)
    tokens = best["tokens"]
    assert tokens["mask"] == [0, 0, 1, 1, 1]
    assert tokens["behave_logp"] == [0.0, 0.0, -1.0, -2.0, -3.0]
    assert tokens["advantage"] == [0.0, 0.0, 2.0, 2.0, 2.0]
    assert tokens["version"] == [-1, -1, 3, 3, 4] and tokens["piece"] == list("abcde")
    assert tokens["ratio"][2:] == pytest.approx([math.exp(0.5)] * 3, abs=1e-4)
    assert (worst["pick"], worst["truncated"], worst["completion"]) == ("worst", True, "gh")
    assert all(len(column) == 3 for column in worst["tokens"].values())


def test_make_records_with_current_logp_takes_the_ppo_ratio(batch: dict[str, torch.Tensor]) -> None:
    batch["new_logp"] = batch["prox_logp"] - 1.0
    record = make_records([batch], Letters(), step=0, limit=1)[0]
    assert record["ratio_kind"] == "current / proximal"
    assert record["tokens"]["ratio"][2] == pytest.approx(math.exp(-1), abs=1e-4)


def test_make_records_over_trajectories_picks_across_the_whole_batch(batch: dict[str, torch.Tensor]) -> None:
    other = {**batch, "rewards": torch.tensor([5.0, -5.0])}
    assert [record["reward"] for record in make_records([batch, other], Letters(), step=0, limit=2)] == [5.0, -5.0]


def test_make_records_leaves_the_batch_alone(batch: dict[str, torch.Tensor]) -> None:
    before = {key: value.clone() for key, value in batch.items()}
    make_records([batch], Letters(), step=0)
    assert batch.keys() == before.keys() and all(torch.equal(batch[key], before[key]) for key in batch)


def test_dump_step_replaces_the_file_of_a_step(tmp_path: Path, batch: dict[str, torch.Tensor]) -> None:
    path = step_path(tmp_path, 12)
    records = make_records([batch], Letters(), step=12)
    dump_step(path, records)
    dump_step(path, records[:1])
    assert path.name == "step_000012.jsonl" and [json.loads(line) for line in path.open()] == records[:1]


@pytest.fixture
def trajectory() -> dict[str, torch.Tensor]:
    """Token aligned, as a workflow returns it: one multi-turn sample, and one that ends in untrained tokens."""
    return {
        "input_ids": torch.tensor([[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 0, 0]]),
        "attention_mask": torch.tensor([[True] * 6, [True] * 4 + [False] * 2]),
        "loss_mask": torch.tensor([[0, 1, 1, 0, 1, 1], [0, 1, 1, 0, 0, 0]]),
        "versions": torch.tensor([[-1, 3, 3, -1, 4, 4], [-1, 3, 3, -1, -1, -1]]),
        "rewards": torch.tensor([0.5, 1.0]),
        "original_rewards": torch.tensor([2.0, 1.0]),
    }


def test_dump_trajectory_writes_the_contract_fields(tmp_path: Path, trajectory: dict[str, torch.Tensor]) -> None:
    path = dump_trajectory(tmp_path, trajectory, Letters(), task_id=9)
    assert path == tmp_path / "rollout" / "4" / "9.jsonl"
    (record,) = [json.loads(line) for line in path.open()]
    assert record == {
        "task_id": 9,
        "sample_idx": 0,
        "seqlen": 6,
        "prompt_len": 1,
        "head_version": 3,
        "tail_version": 4,
        "version_rle": [[3, 2], [4, 2]],
        "reward": 0.5,
        "prompt": "a",
        "completion": "bcdef",
        "original_reward": 2.0,
        "segments": [
            {"role": "prompt", "len": 1, "text": "a"},
            {"role": "gen", "len": 2, "text": "bc"},
            {"role": "context", "len": 1, "text": "d"},
            {"role": "gen", "len": 2, "text": "ef"},
        ],
    }


def test_dump_trajectory_eval_goes_elsewhere_and_skipped_samples_write_nothing(
    tmp_path: Path, trajectory: dict[str, torch.Tensor]
) -> None:
    path = dump_trajectory(tmp_path, trajectory, Letters(), task_id=9, is_eval=True)
    assert path.parent.parent.name == "eval-rollout"
    trajectory["loss_mask"][0, -1] = 0
    assert dump_trajectory(tmp_path / "other", trajectory, Letters(), task_id=9) is None
    assert not (tmp_path / "other").exists()


def test_dump_trajectory_disk_error_only_warns(tmp_path: Path, trajectory: dict[str, torch.Tensor]) -> None:
    (tmp_path / "rollout").write_text("a file where the folder should be")
    assert dump_trajectory(tmp_path, trajectory, Letters(), task_id=9) is None
