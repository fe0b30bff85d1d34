# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import time

import pytest

from tests.distributed import run_ranks


def _sum_of_ranks(rank: int, world_size: int, offset: int) -> float:
    import torch
    import torch.distributed as dist

    value = torch.tensor(float(rank + offset))
    dist.all_reduce(value)
    return value.item()


def _fail_on_rank_one(rank: int, world_size: int) -> None:
    if rank == 1:
        raise ValueError("rank one is unwell")


def _hang(rank: int, world_size: int) -> None:
    import torch
    import torch.distributed as dist

    if rank == 0:
        dist.recv(torch.zeros(1), src=1)
    while True:
        time.sleep(1.0)


@pytest.mark.parametrize("world_size", [1, 3])
def test_run_ranks_collective_returns_results_in_rank_order(world_size: int):
    expected = float(sum(range(world_size)) + 10 * world_size)
    assert run_ranks(_sum_of_ranks, world_size, 10) == [expected] * world_size


def test_run_ranks_failing_rank_raises_with_its_traceback():
    with pytest.raises(AssertionError, match=r"rank 1 raised:(.|\n)*rank one is unwell"):
        run_ranks(_fail_on_rank_one, 2)


def test_run_ranks_hanging_ranks_are_killed_at_the_deadline():
    started = time.monotonic()
    with pytest.raises(AssertionError, match="no result before the deadline"):
        run_ranks(_hang, 2, timeout_s=4.0)
    assert time.monotonic() - started < 15.0
