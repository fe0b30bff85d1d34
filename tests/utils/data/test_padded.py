# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from areal.utils.data import (
    batched_call,
    check_trajectory_format,
    collate_samples_to_list,
    concat_batch,
    concat_padded_tensors,
    make_dummy_trajectory,
    pad_sequences_to_tensors,
    split_batch,
)
from tests.utils.data.conftest import make_batch

groups_of_lengths = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(groups=groups_of_lengths)
def test_split_batch_after_concat_batch_restores_each_trajectory(groups: list[list[int]]) -> None:
    trajectories = [make_batch(lengths, seed=seed) for seed, lengths in enumerate(groups)]
    batch, meta = concat_batch(trajectories)
    assert batch["input_ids"].shape == (sum(map(len, groups)), max(map(max, groups)))
    for original, piece in zip(trajectories, split_batch(batch, meta), strict=True):
        assert original.keys() == piece.keys()
        for key in original:
            assert original[key].dtype == piece[key].dtype
            assert torch.equal(original[key], piece[key])


@settings(max_examples=40, deadline=None)
@given(groups=groups_of_lengths)
def test_concat_padded_tensors_pads_as_row_by_row_copy(groups: list[list[int]]) -> None:
    trajectories = [make_batch(lengths, seed=seed) for seed, lengths in enumerate(groups)]
    batch = concat_padded_tensors(trajectories, pad_value=-7.0)
    row = 0
    for trajectory in trajectories:
        height, width = trajectory["logprobs"].shape
        assert torch.equal(batch["logprobs"][row : row + height, :width], trajectory["logprobs"])
        assert (batch["logprobs"][row : row + height, width:] == -7.0).all()
        assert not batch["attention_mask"][row : row + height, width:].any()
        row += height


def test_concat_padded_tensors_trailing_dims_and_lists_and_scalars_survive() -> None:
    first = make_batch([2]) | {"hidden": torch.ones(1, 2, 3), "images": [{"pixels": 1}], "weight": 0.5}
    second = make_batch([4]) | {"hidden": torch.ones(1, 4, 3), "images": [{"pixels": 2}], "weight": 0.5}
    batch, meta = concat_batch([first, second])
    assert batch["hidden"].shape == (2, 4, 3)
    assert batch["hidden"][0].sum() == 6
    pieces = split_batch(batch, meta)
    assert [piece["images"] for piece in pieces] == [[{"pixels": 1}], [{"pixels": 2}]]
    assert [piece["weight"] for piece in pieces] == [0.5, 0.5]


def test_concat_padded_tensors_other_keys_raises_with_both() -> None:
    with pytest.raises(ValueError, match=r"trajectory 1 .* missing \['rewards'\], unexpected \['score'\]"):
        other = make_batch([3])
        other["score"] = other.pop("rewards")
        concat_padded_tensors([make_batch([2]), other])


def test_concat_padded_tensors_one_trajectory_does_not_alias_it() -> None:
    trajectory = make_batch([3])
    concat_padded_tensors([trajectory])["rewards"].zero_()
    assert trajectory["rewards"].any()


def test_split_batch_pieces_pickle_without_the_whole_batch() -> None:
    batch, meta = concat_batch([make_batch([64], seed=i) for i in range(32)])
    piece = split_batch(batch["logprobs"], meta)[0]
    assert len(pickle.dumps(piece)) < 64 * 4 + 1000


def test_batched_call_per_row_function_returns_one_result_a_trajectory() -> None:
    trajectories = [make_batch([2, 5]), make_batch([3])]
    results = batched_call(lambda batch: {"total": batch["rewards"] * 2, "lp": batch["logprobs"] + 1}, trajectories)
    for trajectory, result in zip(trajectories, results, strict=True):
        assert torch.equal(result["total"], trajectory["rewards"] * 2)
        assert torch.equal(result["lp"], trajectory["logprobs"] + 1)


def test_batched_call_pass_meta_without_unpack_returns_the_raw_result() -> None:
    sizes = batched_call(
        lambda batch, meta: meta.traj_group_sizes, [make_batch([2, 5]), make_batch([3])], unpack=False, pass_meta=True
    )
    assert sizes == [2, 1]


def test_batched_call_none_result_gives_none() -> None:
    assert batched_call(lambda batch: None, [make_batch([2])]) is None


def test_pad_sequences_to_tensors_lists_give_trajectory_dtypes() -> None:
    batch = pad_sequences_to_tensors(
        [{"input_ids": [5, 6, 7], "logprobs": [0, -1.5, -2], "done": True, "score": 0.5},
         {"input_ids": [8], "logprobs": [-1.0], "done": False, "score": 1.0}]
    )  # fmt: skip
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["attention_mask"].tolist() == [[True, True, True], [True, False, False]]
    assert {key: value.dtype for key, value in batch.items()} == {
        "input_ids": torch.int32,
        "logprobs": torch.float32,
        "done": torch.bool,
        "score": torch.float32,
        "attention_mask": torch.bool,
    }


@pytest.mark.parametrize("sample", [{"input_ids": [1, 2], "loss_mask": [1]}, {"input_ids": [], "loss_mask": []}])
def test_pad_sequences_to_tensors_ragged_or_empty_sample_raises(sample: dict) -> None:
    with pytest.raises(ValueError, match="sample 1: all sequences must have one length"):
        pad_sequences_to_tensors([{"input_ids": [1], "loss_mask": [1]}, sample])


def test_collate_samples_to_list_makes_well_formed_trajectories() -> None:
    trajectories = collate_samples_to_list(
        [{"input_ids": [1, 2], "loss_mask": [0, 1]}, {"input_ids": [3], "loss_mask": [1]}]
    )
    assert [tuple(item["input_ids"].shape) for item in trajectories] == [(1, 2), (1, 1)]
    assert all(check_trajectory_format(item, batch_size=1, expected_keys=["loss_mask"]) for item in trajectories)


def test_check_trajectory_format_none_and_good_dict_pass() -> None:
    assert check_trajectory_format(None)
    assert check_trajectory_format(make_batch([3, 1]), batch_size=2, expected_keys=["rewards"])


def _break(**changes: object) -> dict:
    return {**make_batch([3, 2]), **changes}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (7, "must be a dict"),
        ({}, "empty dict"),
        ({"input_ids": torch.ones(1, 2)}, r"lacks \['attention_mask'\]"),
        (_break(input_ids=torch.ones(6)), r"tensor \[b, L\], got \[6\]"),
        (_break(logprobs=torch.ones(2, 4)), r"'logprobs' must be per token \[2, 3, ...\] or per sequence \[2\], got \[2, 4\]"),
        (_break(rewards=torch.ones(3)), "'rewards' must be per token"),
        (_break(images=[1]), "'images' is a list of 1 items"),
        (_break(attention_mask=torch.tensor([[0, 1, 1], [1, 1, 0]])), "row 0 has a 1 after a 0"),
        (_break(attention_mask=torch.tensor([[1, 1, 1], [0, 0, 0]]), loss_mask=torch.zeros(2, 3)), "row 1 .* has no tokens"),
        (_break(loss_mask=torch.ones(2, 3)), "selects padding"),
    ],
)  # fmt: skip
def test_check_trajectory_format_malformed_raises(data: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_trajectory_format(data)


def test_check_trajectory_format_missing_expectations_raise() -> None:
    with pytest.raises(ValueError, match="3 sequences was expected, got 2"):
        check_trajectory_format(make_batch([3, 2]), batch_size=3)
    with pytest.raises(ValueError, match=r"lacks \['versions'\]"):
        check_trajectory_format(make_batch([3, 2]), expected_keys=["versions"])


def test_make_dummy_trajectory_has_same_keys_dtypes_and_no_weight() -> None:
    template = make_batch([3, 2]) | {"images": [{"pixels": 1}, {"pixels": 2}]}
    dummy = make_dummy_trajectory(template)
    assert check_trajectory_format(dummy, batch_size=1)
    assert dummy.keys() == template.keys()
    assert all(dummy[key].dtype == template[key].dtype for key in dummy if key != "images")
    assert dummy["loss_mask"].sum() == 0
