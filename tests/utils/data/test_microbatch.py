# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

from areal.api.cli_args import MicroBatchSpec
from areal.utils.data import (
    all_gather_tensor_container,
    broadcast_tensor_container,
    distribute_trajectories,
    pack_tensor_dict,
    scatter_trajectories,
    split_padded_tensor_dict_into_mb_list,
    tensor_container_to,
)
from tests.distributed import run_ranks
from tests.utils.data.conftest import make_batch


@settings(max_examples=80, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=16),
    n_mbs=st.integers(1, 6),
    cap=st.one_of(st.none(), st.integers(24, 60)),
    divisor=st.integers(1, 3),
    granularity=st.integers(1, 2),
    algorithm=st.sampled_from(["ffd", "kk"]),
)
def test_split_any_batch_covers_each_row_once_within_cap(
    lengths: list[int], n_mbs: int, cap: int | None, divisor: int, granularity: int, algorithm: str
) -> None:
    lengths = lengths * granularity
    batch = make_batch(lengths)
    spec = MicroBatchSpec(
        n_mbs=n_mbs,
        max_tokens_per_mb=cap,
        n_mbs_divisor=divisor,
        granularity=granularity,
        packing_algorithm=algorithm,
    )
    mbs = split_padded_tensor_dict_into_mb_list(batch, spec)
    real = mbs.mbs[: len(mbs) - mbs.num_dummies]
    assert len(mbs) >= n_mbs
    assert len(mbs) % divisor == 0
    assert sorted(mbs.forward_indices) == list(range(len(lengths)))
    assert [mbs.forward_indices[i] for i in mbs.backward_indices] == list(range(len(lengths)))
    for unit in range(0, len(lengths), granularity):
        start = mbs.backward_indices[unit]
        assert mbs.forward_indices[start : start + granularity] == list(range(unit, unit + granularity))
    row = 0
    for position, mb in enumerate(real):
        num_seqs = len(mb["cu_seqlens"]) - 1
        rows = mbs.forward_indices[row : row + num_seqs]
        row += num_seqs
        # Packing these rows alone is the reference.
        alone = pack_tensor_dict({key: value[rows] for key, value in batch.items()})
        assert alone.keys() == mb.keys()
        for key in alone:
            assert torch.equal(torch.as_tensor(alone[key]), torch.as_tensor(mb[key])), key
        assert mbs.group_lens[position] == sum(lengths[i] for i in rows) <= (cap or sum(lengths))
        assert not mbs.is_dummy(position)
    for position in range(len(real), len(mbs)):
        assert mbs.is_dummy(position)
        assert mbs.mbs[position].keys() == real[0].keys()
        assert mbs.mbs[position]["loss_mask"].sum() == 0
        assert len(mbs.mbs[position]["cu_seqlens"]) - 1 == granularity
    assert mbs.max_seqlen == max(lengths)
    outputs = [mb["logprobs"] for mb in mbs]
    assert torch.equal(mbs.to_padded(outputs), batch["logprobs"])


def test_split_reference_example_lengths_5_7_4_cap_9() -> None:
    mbs = split_padded_tensor_dict_into_mb_list(make_batch([5, 7, 4]), MicroBatchSpec(max_tokens_per_mb=9))
    assert mbs.forward_indices == [0, 2, 1]
    assert mbs.group_lens == [9, 7]
    assert [mb["task_ids"].tolist() for mb in mbs] == [[0, 2], [1]]  # per-sequence entries go with their rows


def test_split_batch_where_rows_equal_tokens_keeps_kinds_apart() -> None:
    mbs = split_padded_tensor_dict_into_mb_list(make_batch([1, 1, 1, 1]), MicroBatchSpec(n_mbs=2))
    assert mbs.token_keys == {"input_ids", "loss_mask", "logprobs"}
    assert [mb["rewards"].shape[0] for mb in mbs] == [2, 2]


def test_split_row_above_cap_names_row_length_cap_and_advice() -> None:
    with pytest.raises(ValueError, match="row 1 holds 7 tokens, but max_tokens_per_mb is 6; raise max_tokens_per_mb"):
        split_padded_tensor_dict_into_mb_list(make_batch([5, 7, 4]), MicroBatchSpec(max_tokens_per_mb=6))
    with pytest.raises(ValueError, match=r"rows 2\.\.3 together hold 8 tokens"):
        spec = MicroBatchSpec(max_tokens_per_mb=6, granularity=2)
        split_padded_tensor_dict_into_mb_list(make_batch([1, 2, 4, 4]), spec)


def test_split_odd_rows_with_granularity_two_raises() -> None:
    with pytest.raises(ValueError, match="multiple of the granularity 2, got 3"):
        split_padded_tensor_dict_into_mb_list(make_batch([5, 7, 4]), MicroBatchSpec(granularity=2))


def test_split_multimodal_lists_go_with_their_rows() -> None:
    batch = make_batch([5, 7, 4]) | {"multi_modal_input": [{"image": i} for i in range(3)]}
    mbs = split_padded_tensor_dict_into_mb_list(batch, MicroBatchSpec(n_mbs=4))
    assert [mb["multi_modal_input"] for mb in mbs] == [[{"image": 0}], [{"image": 1}], [{"image": 2}], [{}]]


def test_split_weighted_mean_over_micro_batches_equals_whole_batch() -> None:
    batch = make_batch([3, 9, 4, 6, 1])
    whole = (batch["logprobs"] * batch["loss_mask"]).sum() / batch["loss_mask"].sum()
    for n_mbs in (1, 2, 5, 8):
        mbs = split_padded_tensor_dict_into_mb_list(batch, MicroBatchSpec(n_mbs=n_mbs))
        weights = torch.stack([mb["loss_mask"].sum() for mb in mbs])
        totals = torch.stack([(mb["logprobs"] * mb["loss_mask"]).sum() for mb in mbs])
        torch.testing.assert_close(totals.sum() / weights.sum(), whole)


def _split_on_rank(rank: int, world_size: int) -> list:
    # Rank 0 has six rows, rank 1 one row: rank 1 needs dummies. The second cut is bound by rank 0's cap.
    batch = make_batch([4, 4, 4, 4, 4, 4] if rank == 0 else [4])
    results = []
    for spec in (MicroBatchSpec(n_mbs=3), MicroBatchSpec(max_tokens_per_mb=8, n_mbs_divisor=2)):
        mbs = split_padded_tensor_dict_into_mb_list(batch, spec, dist.group.WORLD)
        results.append((len(mbs), mbs.num_dummies))
    try:
        split_padded_tensor_dict_into_mb_list(
            make_batch([9 if rank == 0 else 1]), MicroBatchSpec(max_tokens_per_mb=8), dist.group.WORLD
        )
    except ValueError as error:
        results.append(str(error))
    return results


def test_split_synchronised_ranks_run_the_same_number_of_micro_batches() -> None:
    first, second = run_ranks(_split_on_rank, 2)
    assert first[:2] == [(3, 0), (4, 0)]
    assert second[:2] == [(3, 2), (4, 3)]
    assert first[2].startswith("row 0 holds 9 tokens")
    assert second[2].startswith("another rank has more tokens")


def _split_without_rows_on_rank_0(rank: int, world_size: int) -> str:
    batch = {key: value[:rank] for key, value in make_batch([4]).items()}
    with pytest.raises(ValueError, match="positive multiple") as error:
        split_padded_tensor_dict_into_mb_list(batch, MicroBatchSpec(), dist.group.WORLD)
    dist.barrier()  # nobody is left in a collective
    return str(error.value)


def test_split_rank_without_rows_raises_on_all_ranks() -> None:
    first, second = run_ranks(_split_without_rows_on_rank_0, 2)
    assert first.endswith("granularity 1, got 0")
    assert second.endswith("on every rank, got another number on another rank (1 here)")


def _containers_on_rank(rank: int, world_size: int) -> list:
    mine = {"x": torch.full((rank + 1, 2), rank), "nested": [torch.tensor(rank > 0), "text"]}
    received = broadcast_tensor_container(mine if rank == 1 else None, src_rank=1)
    gathered = all_gather_tensor_container(mine)
    return [received["x"].tolist(), [item["x"].shape[0] for item in gathered], bool(gathered[1]["nested"][0])]


def test_collectives_uneven_containers_reach_all_ranks() -> None:
    assert run_ranks(_containers_on_rank, 2) == [[[[1, 1], [1, 1]], [1, 2], True]] * 2


def test_tensor_container_to_nested_changes_only_tensors() -> None:
    moved = tensor_container_to({"a": (torch.ones(2), "text"), "b": 3}, torch.float64)
    assert moved["a"][0].dtype == torch.float64
    assert moved["a"][1:] == ["text"]
    assert moved["b"] == 3


@settings(max_examples=60, deadline=None)
@given(num=st.integers(1, 12), dp_size=st.integers(1, 5), granularity=st.integers(1, 2))
def test_distribute_any_count_covers_each_trajectory_once_and_fills_empty_ranks(
    num: int, dp_size: int, granularity: int
) -> None:
    trajectories = [make_batch([1 + i % 5, 2], seed=i) for i in range(num * granularity)]
    index_lists = distribute_trajectories(trajectories, dp_size, granularity)
    assert sorted(i for part in index_lists for i in part) == list(range(len(trajectories)))
    sizes = [len(part) // granularity for part in index_lists]
    assert max(sizes) - min(sizes) <= 1
    for part in index_lists:
        assert all(part[i] % granularity == 0 for i in range(0, len(part), granularity))
    shares = scatter_trajectories(trajectories, index_lists, granularity)
    assert all(shares)
    for share, part in zip(shares, index_lists, strict=True):
        if part:
            assert [id(item) for item in share] == [id(trajectories[i]) for i in part]
        else:
            assert len(share) == granularity
            assert all(item["loss_mask"].sum() == 0 for item in share)


def test_distribute_unpaired_trajectory_raises() -> None:
    with pytest.raises(ValueError, match="3 is not a multiple"):
        distribute_trajectories([make_batch([2])] * 3, 2, granularity=2)


def test_split_256_by_1024_seven_keys_is_faster_than_the_reference() -> None:
    lengths = torch.randint(100, 1025, (256,), generator=torch.Generator().manual_seed(0)).tolist()
    batch = make_batch(lengths, width=1024)
    batch |= {
        "versions": batch["input_ids"].clone(),
        "turn_ids": batch["input_ids"].clone(),
        "adv": batch["logprobs"].clone(),
    }
    spec = MicroBatchSpec(max_tokens_per_mb=8192)
    best = min(_seconds(lambda: split_padded_tensor_dict_into_mb_list(batch, spec)) for _ in range(5))
    assert best < 0.010  # AReaL: 9.0 to 10.5 ms in the same setting; here about 3 ms


def _seconds(fn: Callable[[], object]) -> float:
    start = time.process_time()
    fn()
    return time.process_time() - start
