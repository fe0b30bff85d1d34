# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import asyncio
import inspect
import math
import threading

import pytest
import torch
import torch.distributed as dist

from areal.utils import stats_tracker
from areal.utils.stats_tracker import DistributedStatsTracker, ReduceType
from tests.distributed import run_ranks


@pytest.fixture
def tracker() -> DistributedStatsTracker:
    return DistributedStatsTracker()


def test_scalar_two_records_exports_mean_and_count(tracker: DistributedStatsTracker) -> None:
    tracker.scalar(x=1)
    tracker.scalar(x=torch.tensor(3.0))
    assert tracker.export() == {"x": 2.0, "x__count": 2.0}


def test_stat_masked_extreme_is_ignored(tracker: DistributedStatsTracker) -> None:
    values = torch.tensor([1.0, 100.0, 3.0])
    tracker.denominator(n=torch.tensor([True, False, True]))
    tracker.stat("n", v=values)
    tracker.stat("n", ReduceType.SUM, s=values)
    assert tracker.export() == {"n": 2.0, "v/avg": 2.0, "v/min": 1.0, "v/max": 3.0, "s": 4.0}


def test_stat_over_micro_batches_equals_whole_batch(tracker: DistributedStatsTracker) -> None:
    values, mask = torch.randn(64), torch.rand(64) < 0.3
    for part_values, part_mask in zip(values.split([7, 40, 17]), mask.split([7, 40, 17])):
        tracker.denominator(n=part_mask)
        tracker.stat("n", v=part_values)
    numbers = tracker.export()
    kept = values[mask]
    assert numbers["n"] == mask.sum()
    assert numbers["v/avg"] == pytest.approx(kept.double().mean().item(), rel=1e-12)
    assert (numbers["v/min"], numbers["v/max"]) == (kept.min().item(), kept.max().item())


@pytest.mark.parametrize(
    ("reduce_type", "expected"),
    [(ReduceType.AVG, 2.0), (ReduceType.SUM, 4.0), (ReduceType.MIN, 1.0), (ReduceType.MAX, 3.0)],
)
def test_stat_single_number_types_export_at_the_key(
    tracker: DistributedStatsTracker, reduce_type: ReduceType, expected: float
) -> None:
    tracker.denominator(n=torch.tensor([True, True]))
    tracker.stat("n", reduce_type, v=torch.tensor([1.0, 3.0]))
    assert tracker.export()["v"] == expected


def test_stat_empty_denominator_omits_key_but_exports_the_zero_count(tracker: DistributedStatsTracker) -> None:
    tracker.denominator(n=torch.zeros(3, dtype=torch.bool))
    tracker.stat("n", v=torch.ones(3))
    assert tracker.export() == {"n": 0.0}


def test_stat_nan_behind_the_mask_is_ignored_and_before_it_shows(tracker: DistributedStatsTracker) -> None:
    values = torch.tensor([1.0, math.nan])
    tracker.denominator(n=torch.tensor([True, False]))
    tracker.stat("n", good=values)
    tracker.denominator(n=torch.tensor([True, True]))
    tracker.stat("n", bad=values)
    numbers = tracker.export()
    assert numbers["good/avg"] == numbers["good/max"] == 1.0
    assert math.isnan(numbers["bad/avg"]) and math.isnan(numbers["bad/min"])


def test_stat_uses_latest_denominator_even_after_an_extra_one(tracker: DistributedStatsTracker) -> None:
    # Positional pairing would average the second tensor with the first mask.
    tracker.denominator(n=torch.tensor([True, True]))
    tracker.denominator(n=torch.tensor([False, True]))
    tracker.stat("n", v=torch.tensor([10.0, 2.0]))
    assert tracker.export()["v/avg"] == 2.0


def test_stat_shape_mismatch_names_both_shapes(tracker: DistributedStatsTracker) -> None:
    tracker.denominator(n=torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"\(4,\).*\(3,\)"):
        tracker.stat("n", v=torch.ones(4))


def test_stat_denominator_missing_or_of_last_step_raises(tracker: DistributedStatsTracker) -> None:
    with pytest.raises(ValueError, match="not recorded"):
        tracker.stat("n", v=torch.ones(1))
    tracker.denominator(n=torch.ones(1, dtype=torch.bool))
    tracker.export()
    with pytest.raises(ValueError, match="not recorded"):
        tracker.stat("n", v=torch.ones(1))


@pytest.mark.parametrize("bad", [torch.ones(2), torch.zeros(0, dtype=torch.bool), [True]])
def test_denominator_not_a_bool_tensor_raises(tracker: DistributedStatsTracker, bad: object) -> None:
    with pytest.raises(ValueError, match="non-empty bool tensor"):
        tracker.denominator(n=bad)


@pytest.mark.parametrize("bad", [torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.int32), 1.0])
def test_stat_not_float32_raises(tracker: DistributedStatsTracker, bad: object) -> None:
    tracker.denominator(n=torch.ones(2, dtype=torch.bool))
    with pytest.raises(ValueError, match="float32"):
        tracker.stat("n", v=bad)


def test_stat_scalar_type_raises(tracker: DistributedStatsTracker) -> None:
    tracker.denominator(n=torch.ones(2, dtype=torch.bool))
    with pytest.raises(ValueError, match="SCALAR"):
        tracker.stat("n", ReduceType.SCALAR, v=torch.ones(2))


def test_record_same_key_with_two_types_raises(tracker: DistributedStatsTracker) -> None:
    tracker.scalar(x=1)
    with pytest.raises(ValueError, match="another key"):
        tracker.counter(x=1)


def test_counter_exports_the_sum_without_a_count_key(tracker: DistributedStatsTracker) -> None:
    tracker.counter(accepted=1, rejected=0)
    tracker.counter(accepted=2)
    assert tracker.export() == {"accepted": 3.0, "rejected": 0.0}


def test_scope_nests_strips_slashes_and_can_be_disabled(tracker: DistributedStatsTracker) -> None:
    with tracker.scope("/a/"), tracker.scope("b"):
        tracker.scalar(x=1)
        with tracker.disable_scope():
            tracker.scalar(x=2)
    assert {key: value for key, value in tracker.export().items() if "__" not in key} == {"a/b/x": 1.0, "x": 2.0}


def test_scope_interleaved_tasks_keep_their_own(tracker: DistributedStatsTracker) -> None:
    async def record(name: str, turn: asyncio.Event, other: asyncio.Event) -> None:
        with tracker.scope(name):
            other.set()
            await turn.wait()
            tracker.scalar(x=1)

    async def main() -> None:
        first, second = asyncio.Event(), asyncio.Event()
        await asyncio.gather(record("a", first, second), record("b", second, first))

    asyncio.run(main())
    assert set(tracker.export()) == {"a/x", "a/x__count", "b/x", "b/x__count"}


def test_scope_of_another_thread_is_not_inherited(tracker: DistributedStatsTracker) -> None:
    with tracker.scope("a"):
        thread = threading.Thread(target=lambda: tracker.scalar(x=1))
        thread.start()
        thread.join()
    assert "x" in tracker.export()


def test_scope_of_default_tracker_does_not_prefix_a_named_one() -> None:
    with stats_tracker.scope("outer"):
        stats_tracker.get("test-named").scalar(x=1)
    assert stats_tracker.get("test-named").export()["test-named/x"] == 1.0


def test_scope_func_wrapper_keeps_metadata_of_functions_and_coroutines(tracker: DistributedStatsTracker) -> None:
    @tracker.scope_func_wrapper("s")
    def plain(a: int, *, b: int = 2) -> int:
        """Doc."""
        tracker.scalar(x=a)
        return a + b

    @tracker.scope_func_wrapper("t")
    async def later(a: int) -> int:
        tracker.scalar(x=a)
        return a

    assert (plain.__name__, plain.__doc__, list(inspect.signature(plain).parameters)) == ("plain", "Doc.", ["a", "b"])
    assert inspect.iscoroutinefunction(later)
    assert plain(1) == 3 and asyncio.run(later(5)) == 5
    numbers = tracker.export()
    assert (numbers["s/x"], numbers["t/x"]) == (1.0, 5.0)


def test_record_timing_ignores_scopes_and_survives_errors(tracker: DistributedStatsTracker) -> None:
    with pytest.raises(KeyError), tracker.scope("a"), tracker.record_timing("phase"):
        raise KeyError
    numbers = tracker.export()
    assert numbers["timeperf/phase__count"] == 1.0 and numbers["timeperf/phase"] >= 0


def test_export_of_one_key_leaves_the_others(tracker: DistributedStatsTracker) -> None:
    with tracker.scope("a"):
        tracker.counter(x=1)
    tracker.counter(ab=2)
    assert tracker.export("a") == {"a/x": 1.0}
    assert tracker.export(reset=False) == {"ab": 2.0}
    assert tracker.export() == {"ab": 2.0}
    assert tracker.export() == {}


def test_record_many_times_holds_one_entry_and_no_graph(tracker: DistributedStatsTracker) -> None:
    values = torch.ones(8, requires_grad=True)
    for _ in range(100):
        tracker.denominator(n=torch.ones(8, dtype=torch.bool))
        tracker.stat("n", v=values * 2)
    entries = tracker.pop(reset=False)
    assert set(entries) == {"n", "v"} and entries["v"].total == 1600.0
    assert not tracker._entries["v"].total.requires_grad


def test_counter_from_many_threads_loses_nothing(tracker: DistributedStatsTracker) -> None:
    threads = [threading.Thread(target=lambda: [tracker.counter(x=1) for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tracker.export() == {"x": 4000.0}


def test_export_recorded_with_a_group_but_without_sync_group_raises(
    tracker: DistributedStatsTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats_tracker, "_ranks_of", lambda group: (0, 1))
    tracker.scalar(x=1, reduce_group=object())
    with pytest.raises(RuntimeError, match="key_sync_group"):
        tracker.export()


def _ranks_record_different_keys(rank: int, world_size: int) -> tuple[dict, dict]:
    tracker = DistributedStatsTracker()
    tracker.denominator(n=torch.tensor([True] * (rank + 1)))
    tracker.stat("n", v=torch.full((rank + 1,), float(rank)))
    if rank == 1:
        tracker.scalar(only_here=7)
        stats_tracker.get("late").counter(x=5)
    stats_tracker.counter(shared=rank + 1)
    return tracker.export(reduce_group=dist.group.WORLD), stats_tracker.export_all(reduce_group=dist.group.WORLD)


def test_export_two_ranks_merges_and_ranks_without_a_key_join() -> None:
    results = run_ranks(_ranks_record_different_keys, 2)
    numbers = {"n": 3.0, "v/avg": 2 / 3, "v/min": 0.0, "v/max": 1.0, "only_here": 7.0, "only_here__count": 1.0}
    assert results == [(numbers, {"shared": 3.0, "late/x": 5.0})] * 2


def _ranks_disagree(rank: int, world_size: int) -> str:
    tracker = DistributedStatsTracker()
    if rank == 0:
        tracker.scalar(x=1)
    else:
        tracker.counter(x=1)
    try:
        tracker.export(reduce_group=dist.group.WORLD)
    except ValueError as error:
        return str(error)
    return "no error"


def test_export_ranks_disagree_on_type_all_raise() -> None:
    assert all("disagree" in message for message in run_ranks(_ranks_disagree, 2))


def _rank_group_override(rank: int, world_size: int) -> dict:
    own = [dist.new_group([0]), dist.new_group([1])][rank]
    tracker = DistributedStatsTracker()
    tracker.counter(replicated=4, reduce_group=own)
    tracker.counter(summed=4)
    return tracker.export(reduce_group=dist.group.WORLD, key_sync_group=dist.group.WORLD)


def test_export_record_time_group_limits_the_merge() -> None:
    assert run_ranks(_rank_group_override, 2) == [{"replicated": 4.0, "summed": 8.0}] * 2
