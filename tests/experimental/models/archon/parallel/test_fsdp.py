# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Sharding options: dtypes of masters and computation, when gathered parameters are given back."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from areal.experimental.models.archon.parallel.fsdp import reshards_after_forward
from areal.utils.errors import ConfigError
from tests.distributed import run_ranks
from tests.experimental.models.archon.parallel.cases import (
    DENSE,
    MOE,
    Step,
    assert_same_step,
    make_batch,
    parallel_step,
    reference_step,
)


@pytest.mark.parametrize(
    ("policy", "has_pipeline", "expected"),
    [("default", False, True), ("default", True, False), ("always", True, True), ("never", False, False)],
)
def test_policy_says_when_blocks_give_parameters_back(policy: str, has_pipeline: bool, expected: bool) -> None:
    assert reshards_after_forward(policy, has_pipeline) is expected


def test_unknown_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match="got 'sometimes'"):
        reshards_after_forward("sometimes", False)


def step_without_views(rank: int, world_size: int, *args: Any) -> Step:
    """FSDP warns of units that return views, whose hooks an in-place operation would drop."""
    warnings.filterwarnings("error", message=".* returned a view tensor")
    return parallel_step(rank, world_size, *args)


def test_step_with_parameters_kept_gathered_equals_that_of_one_process() -> None:
    expected = reference_step(MOE, [make_batch(0), make_batch(1)])
    for result in run_ranks(step_without_views, 2, MOE, {"dp_shard": 2}, {"reshard_after_forward_policy": "never"}):
        assert_same_step(result, expected)


@pytest.mark.parametrize("sizes", [{"dp_shard": 2, "tp": 2}, {"dp_shard": 2, "cp": 2}], ids=str)
def test_bfloat16_computation_keeps_fp32_masters_near_those_of_one_process(sizes: dict[str, int]) -> None:
    expected = reference_step(DENSE, [make_batch(0), make_batch(1)])
    start = reference_step(DENSE, [make_batch(0)])
    for result in run_ranks(parallel_step, 4, DENSE, sizes, {"param_dtype": torch.bfloat16}):
        assert {value.dtype for value in result.state.values()} == {torch.float32}
        assert abs(result.grad_norm - expected.grad_norm) < 0.03 * expected.grad_norm
        assert abs(result.grad_norm - start.grad_norm) > 0.03 * expected.grad_norm  # which half of the batch would give
