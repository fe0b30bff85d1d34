# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Number partitioning: which sequences share a micro-batch, which trajectories share a data-parallel rank.

Called by `areal.utils.data` with sequence lengths. All functions return lists of indices into their input, each index
exactly once, and are deterministic: every rank that gets the same numbers computes the same answer. Pure Python and
numpy: must never import torch.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence

import numpy as np

from areal.utils.logging import getLogger

logger = getLogger("seqpack")

AllocateFn = Callable[..., list[list[int]]]


def ffd_allocate(
    values: Sequence[int], capacity: float, min_groups: int | None, n_groups_divisor: int = 1
) -> list[list[int]]:
    """Partition `values` into few groups whose sums stay within `capacity` and are nearly equal.

    Takes the values in descending order, each into the group with the smallest sum, and opens a further group when the
    value fits nowhere; then starts again with that many groups, until none had to be added. The final pass is thus plain
    LPT: its largest sum is at most 4/3 - 1/(3k) times the best possible for its k groups (Graham 1969, theorem 2).
    Deliberate difference from AReaL, which picks the group with the fewest members and so loses the balance.

    Returns at least `min_groups` (None: `n_groups_divisor`) non-empty groups, a multiple of `n_groups_divisor`. Raises
    `ValueError` for a value above the capacity and for fewer values than groups.
    """
    num_groups = _least_groups(values, capacity, min_groups, n_groups_divisor)
    order = sorted(range(len(values)), key=lambda i: -values[i])
    while True:
        _check_enough(values, num_groups)
        groups = _fill_smallest_first(order, values, capacity, num_groups)
        if len(groups) == num_groups:
            return groups
        num_groups = _round_up(len(groups), n_groups_divisor)


def kk_allocate(
    values: Sequence[int],
    capacity: float,
    min_groups: int | None,
    n_groups_divisor: int = 1,
    equal_size: bool = False,
) -> list[list[int]]:
    """Partition by the largest-differencing method of Karmarkar and Karp (1982): sums closer together than LPT's.

    The number of groups is the least that `capacity`, `min_groups` and `n_groups_divisor` allow; when a group then exceeds
    the capacity, falls back to `ffd_allocate` and logs it. `equal_size` asks for groups of equal count, which demands that
    the count divides. The largest sum is at most 4/3 - 1/(3k) times the best possible (Michiels, Korst and Aarts 2003).
    Raises as `ffd_allocate` does.
    """
    num_groups = _least_groups(values, capacity, min_groups, n_groups_divisor)
    _check_enough(values, num_groups)
    if equal_size and len(values) % num_groups:
        raise ValueError(
            f"equal_size needs the number of values to be a multiple of the number of groups, got {len(values)} values "
            f"for {num_groups} groups; drop equal_size or change min_groups"
        )
    groups = _largest_differencing(values, num_groups, equal_size)
    largest = max(sum(values[i] for i in group) for group in groups)
    if largest <= capacity:
        return groups
    logger.warning(
        "kk_allocate: the fullest of %d groups holds %d, over the capacity %s; using ffd_allocate instead",
        num_groups,
        largest,
        capacity,
    )
    return ffd_allocate(values, capacity, min_groups, n_groups_divisor)


PACKING_ALGORITHMS: dict[str, AllocateFn] = {"ffd": ffd_allocate, "kk": kk_allocate}
"""Names that `MicroBatchSpec.packing_algorithm` may take."""


def get_allocate_fn(name: str) -> AllocateFn:
    """The packing function behind a name; `ValueError` lists the known ones."""
    if name not in PACKING_ALGORITHMS:
        raise ValueError(f"packing algorithm must be one of {sorted(PACKING_ALGORITHMS)}, got {name!r}")
    return PACKING_ALGORITHMS[name]


def balanced_greedy_partition(nums: Sequence[int], K: int) -> list[list[int]]:
    """Partition `nums` into K groups of equal count, each value (descending) to the not yet full group of smallest sum.

    Counts differ by at most one when K does not divide `len(nums)`; with fewer values than groups some groups are empty.
    Both are errors in AReaL, which made an odd number of trajectories impossible to spread over ranks.
    """
    if K < 1:
        raise ValueError(f"K must be at least 1, got {K}")
    quota, num_larger = divmod(len(nums), K)
    groups: list[list[int]] = [[] for _ in range(K)]
    heap = [(0, k) for k in range(K)]
    for index in sorted(range(len(nums)), key=lambda i: -nums[i]):
        total, k = heapq.heappop(heap)
        groups[k].append(index)
        count = len(groups[k])
        if count > quota:
            num_larger -= 1
            if num_larger == 0:  # the remaining groups stay at the quota
                heap = [(total, k) for total, k in heap if len(groups[k]) < quota]
                heapq.heapify(heap)
        elif count < quota or num_larger > 0:
            heapq.heappush(heap, (total + nums[index], k))
    return groups


def _round_up(number: int, divisor: int) -> int:
    return -(-number // divisor) * divisor


def _least_groups(values: Sequence[int], capacity: float, min_groups: int | None, divisor: int) -> int:
    if not values:
        raise ValueError("there is nothing to allocate: got no values")
    if max(values) > capacity:
        index = max(range(len(values)), key=lambda i: values[i])
        raise ValueError(
            f"each value must fit the capacity {capacity}, got {values[index]} at index {index}; raise the capacity"
        )
    lower_bound = math.ceil(sum(values) / capacity) if math.isfinite(capacity) else 1
    return _round_up(max(min_groups or divisor, lower_bound), divisor)


def _check_enough(values: Sequence[int], num_groups: int) -> None:
    if len(values) < num_groups:
        raise ValueError(
            f"{num_groups} groups need at least {num_groups} values, got {len(values)}; lower min_groups or the divisor"
        )


def _fill_smallest_first(
    order: Sequence[int], values: Sequence[int], capacity: float, num_groups: int
) -> list[list[int]]:
    groups: list[list[int]] = [[] for _ in range(num_groups)]
    # The count breaks ties between equal sums: without it, zero-length values would leave groups empty.
    heap = [(0, 0, k) for k in range(num_groups)]
    for index in order:
        total, count, k = heap[0]
        if total + values[index] <= capacity:
            groups[k].append(index)
            heapq.heapreplace(heap, (total + values[index], count + 1, k))
        else:
            heapq.heappush(heap, (values[index], 1, len(groups)))
            groups.append([index])
    return groups


def _largest_differencing(values: Sequence[int], num_groups: int, equal_size: bool) -> list[list[int]]:
    """Merge the two partial partitions of largest spread, big sums onto small ones, until one partition is left.

    A partial partition is a pair of arrays [k]: sums (descending, the smallest subtracted) and nodes. A node is an index
    into `values`, or `len(values) + m` for the union that merge step and slot `m` made: the members are read off at the
    end, so that a merge costs a few numpy calls on k elements.
    """
    num_values = len(values)
    order = np.argsort(-np.asarray(values, dtype=np.int64), kind="stable")
    sorted_values = np.asarray(values, dtype=np.int64)[order]
    heap: list[tuple[int, int, np.ndarray, np.ndarray]] = []
    if equal_size:
        for start in range(0, num_values, num_groups):
            sums = sorted_values[start : start + num_groups]
            heap.append((-int(sums[0] - sums[-1]), start, sums - sums[-1], order[start : start + num_groups]))
    else:
        for start in range(num_values):
            sums = np.zeros(num_groups, dtype=np.int64)
            nodes = np.full(num_groups, -1, dtype=np.int64)
            sums[0], nodes[0] = sorted_values[start] if num_groups > 1 else 0, order[start]
            heap.append((-int(sums[0]), start, sums, nodes))
    heapq.heapify(heap)
    unions: list[tuple[np.ndarray, np.ndarray]] = []
    slots = np.arange(num_groups, dtype=np.int64)
    while len(heap) > 1:
        _, _, sums_a, nodes_a = heapq.heappop(heap)
        _, _, sums_b, nodes_b = heap[0]
        nodes_b = nodes_b[::-1]
        sums = sums_a + sums_b[::-1]
        made = slots + (num_values + num_groups * len(unions))
        unions.append((nodes_a, nodes_b))
        # Where one side is empty (-1) the other side's node passes through: the tree of unions stays as small as the input.
        nodes = np.where(nodes_b < 0, nodes_a, np.where(nodes_a < 0, nodes_b, made))
        by_sum = np.argsort(-sums, kind="stable")
        sums = sums[by_sum]
        entry = (-int(sums[0] - sums[-1]), num_values + len(unions), sums - sums[-1], nodes[by_sum])
        heapq.heapreplace(heap, entry)
    groups = [_members(int(node), unions, num_values, num_groups) for node in heap[0][3]]
    return _fill_empty(groups, values)


def _members(root: int, unions: list[tuple[np.ndarray, np.ndarray]], num_values: int, num_groups: int) -> list[int]:
    found, stack = [], [root]
    while stack:
        node = stack.pop()
        if node >= num_values:
            step, slot = divmod(node - num_values, num_groups)
            stack += (int(unions[step][0][slot]), int(unions[step][1][slot]))
        elif node >= 0:
            found.append(node)
    return found


def _fill_empty(groups: list[list[int]], values: Sequence[int]) -> list[list[int]]:
    # Zero values can pile up in one slot and leave others empty; moving one of the smallest keeps every sum in order.
    for group in groups:
        if not group:
            donor = max(groups, key=len)
            group.append(donor.pop(min(range(len(donor)), key=lambda j: values[donor[j]])))
    return groups
