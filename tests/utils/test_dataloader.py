# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from areal.api.cli_args import TrainDatasetConfig
from areal.utils.dataloader import SampleLoader, create_dataloader, epoch_order
from areal.utils.errors import CheckpointError, ConfigError


def loader_of(num_items: int, batch_size: int = 2, seed: int = 1, **options: bool) -> SampleLoader:
    arguments = {"shuffle": True, "drop_last": False} | options
    return SampleLoader([{"id": i} for i in range(num_items)], batch_size=batch_size, seed=seed, **arguments)


def uninterrupted(num_items: int, count: int, seed: int = 1) -> list[int]:
    loader = loader_of(num_items, seed=seed)
    return [loader.next_sample()[1]["id"] for _ in range(count)]


@settings(max_examples=200, deadline=None)
@given(num_items=st.integers(1, 7), seed=st.integers(0, 2**63), data=st.data())
def test_next_sample_any_interleaving_with_kills_consumes_each_sample_once(
    num_items: int, seed: int, data: st.DataObject
) -> None:
    loader = loader_of(num_items, seed=seed)
    in_flight: dict[int, int] = {}
    consumed: dict[int, int] = {}
    for action in data.draw(st.lists(st.sampled_from(["issue", "issue", "consume", "kill"]), max_size=60)):
        if action == "issue":
            k, item = loader.next_sample()
            assert k not in in_flight
            assert k not in consumed
            in_flight[k] = item["id"]
        elif action == "consume" and in_flight:
            k = data.draw(st.sampled_from(sorted(in_flight)))
            loader.mark_consumed([k])
            consumed[k] = in_flight.pop(k)
        elif action == "kill":
            state = json.loads(json.dumps(loader.state_dict()))
            loader = loader_of(num_items, seed=seed)
            loader.load_state_dict(state)
            in_flight.clear()
    # Let what is in flight end, then run on to the end of the epoch.
    loader.mark_consumed(sorted(in_flight))
    consumed |= in_flight
    end = (max(consumed, default=0) // num_items + 1) * num_items
    while len(consumed) < end:
        k, item = loader.next_sample()
        loader.mark_consumed([k])
        assert k not in consumed
        consumed[k] = item["id"]
    assert [consumed[k] for k in range(end)] == uninterrupted(num_items, end, seed)
    assert loader.state_dict()["oldest_unconsumed"] == end
    for start in range(0, end, num_items):
        assert sorted(consumed[k] for k in range(start, start + num_items)) == list(range(num_items))


@pytest.mark.parametrize("drop_last", [True, False])
def test_iter_restored_in_mid_epoch_continues_with_the_next_batch(drop_last: bool) -> None:
    reference = loader_of(7, batch_size=2, drop_last=drop_last)
    batches = [batch for _ in range(2) for batch in reference]
    assert len(batches) == 2 * len(reference) == (6 if drop_last else 8)
    loader = loader_of(7, batch_size=2, drop_last=drop_last)
    iterator = iter(loader)
    seen = [next(iterator), next(iterator)]
    restored = loader_of(7, batch_size=2, drop_last=drop_last)
    restored.load_state_dict(loader.state_dict())
    seen += [batch for _ in range(2) for batch in restored]
    assert seen == batches


def test_iter_without_shuffle_collates_in_dataset_order() -> None:
    loader = SampleLoader(
        list("abcde"), batch_size=2, shuffle=False, drop_last=False, seed=0, collate_fn=lambda items: "".join(items)
    )
    assert list(loader) == ["ab", "cd", "e"]
    assert list(loader) == ["ab", "cd", "e"]


def test_epochs_and_seeds_give_different_orders() -> None:
    orders = [tuple(epoch_order(50, seed, epoch, True)) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(orders)) == 4
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_epoch_order_is_fixed_for_ever() -> None:
    # Recorded once: a change of these numbers would break the resumption of every run.
    assert epoch_order(10, 0, 0, True).tolist() == [4, 8, 0, 1, 7, 6, 2, 5, 3, 9]
    assert epoch_order(10, 7, 3, True).tolist() == [9, 6, 2, 3, 8, 4, 7, 0, 5, 1]


def test_epoch_order_many_items_is_uniform() -> None:
    # Mean position of each item over epochs; sd of the mean is 50/sqrt(12)/sqrt(2000) = 0.32, 5 sd allowed.
    positions = np.mean([np.argsort(epoch_order(50, 3, epoch, True)) for epoch in range(2000)], axis=0)
    assert np.abs(positions - 24.5).max() < 1.6


def test_mark_consumed_twice_or_unissued_raises() -> None:
    loader = loader_of(5)
    k, _ = loader.next_sample()
    loader.mark_consumed([k])
    with pytest.raises(ValueError, match="already consumed"):
        loader.mark_consumed([k])
    with pytest.raises(ValueError, match="never issued"):
        loader.mark_consumed([3])


@pytest.mark.parametrize("other", [loader_of(6), loader_of(5, seed=2), loader_of(5, shuffle=False)])
def test_load_state_dict_other_stream_raises_with_both_fingerprints(other: SampleLoader) -> None:
    state = loader_of(5).state_dict()
    with pytest.raises(CheckpointError, match=r"other data or another order: expected .*content.*, got .*content"):
        other.load_state_dict(state)


def test_load_state_dict_same_size_other_content_raises() -> None:
    other = SampleLoader([{"id": -i} for i in range(5)], batch_size=2, shuffle=True, drop_last=False, seed=1)
    with pytest.raises(CheckpointError):
        other.load_state_dict(loader_of(5).state_dict())


def test_create_dataloader_reads_the_config() -> None:
    loader = create_dataloader(list(range(10)), TrainDatasetConfig(batch_size=4, shuffle=False, drop_last=True), seed=3)
    assert (len(loader), loader.num_samples_per_epoch, loader.batch_size) == (2, 8, 4)
    assert [loader.next_sample() for _ in range(9)][-1] == (8, 0)


def test_create_dataloader_too_few_items_raises() -> None:
    with pytest.raises(ConfigError, match="3 items, which gives no batch of 4"):
        create_dataloader([1, 2, 3], TrainDatasetConfig(batch_size=4), seed=0)


def test_import_needs_no_torch() -> None:
    code = (
        "import sys, areal.utils.dataloader, areal.utils.seeding, areal.utils.hf_utils; print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
