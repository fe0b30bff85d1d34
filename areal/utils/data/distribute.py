# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Whole trajectories onto data-parallel ranks.

Called by the controller (`areal.trainer`), which owns the batch. A rank that would get nothing receives a dummy of zero
weight, so that it joins every collective: an odd number of trajectories never stops a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from areal.utils.data.schema import attention_mask_of, kinds_of
from areal.utils.seqpack import balanced_greedy_partition


def distribute_trajectories(trajs: Sequence[Mapping[str, Any]], dp_size: int, granularity: int = 1) -> list[list[int]]:
    """Indices of the trajectories of each rank, nearly equal in tokens, in ascending order.

    `granularity` adjacent trajectories stay together (2 for chosen/rejected pairs). The numbers of such units differ by at
    most one between ranks; a rank gets an empty list when there are fewer units than ranks. `ValueError` when the number
    of trajectories is not a multiple of `granularity`.
    """
    if len(trajs) % granularity:
        raise ValueError(
            f"{granularity} adjacent trajectories belong together, but {len(trajs)} is not a multiple; "
            "drop or complete the last group"
        )
    tokens = [int(attention_mask_of(traj).sum()) for traj in trajs]
    units = [sum(tokens[i : i + granularity]) for i in range(0, len(trajs), granularity)]
    return [
        [unit * granularity + offset for unit in sorted(part) for offset in range(granularity)]
        for part in balanced_greedy_partition(units, dp_size)
    ]


def scatter_trajectories(
    trajs: Sequence[Mapping[str, Any]], index_lists: Sequence[Sequence[int]], granularity: int = 1
) -> list[list[Mapping[str, Any]]]:
    """The trajectories of each rank; `granularity` dummies where a rank has none."""
    return [[trajs[i] for i in indices] or [make_dummy_trajectory(trajs[0])] * granularity for indices in index_lists]


def make_dummy_trajectory(template: Mapping[str, Any]) -> dict[str, Any]:
    """One sequence of one token with the keys and dtypes of `template` and weight zero: `loss_mask` and all else are 0.

    `attention_mask` is 1, because a model cannot be run on no tokens at all.
    """
    dummy: dict[str, Any] = {}
    for key, kind in kinds_of(template, *attention_mask_of(template).shape).items():
        value = template[key]
        if kind == "shared":
            dummy[key] = value
        elif isinstance(value, Tensor):
            dummy[key] = value.new_zeros((1, 1, *value.shape[2:]) if kind == "token" else (1,))
        else:
            dummy[key] = [{}]
    dummy["attention_mask"] = torch.ones_like(dummy["attention_mask"])
    return dummy
