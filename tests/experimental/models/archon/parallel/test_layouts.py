# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""One optimizer step in every layout without pipeline equals that of one process without any."""

from __future__ import annotations

from dataclasses import replace

import pytest

from areal.experimental.models.archon.model_args import DecoderArgs
from tests.distributed import run_ranks
from tests.experimental.models.archon.parallel.cases import (
    ALIBI,
    CRITIC,
    DENSE,
    MIXERS,
    MOE,
    MOE_BIASED,
    POSITIONS,
    RICH,
    SHORT_CONV,
    TIED,
    VOCAB,
    assert_same_step,
    make_batch,
    parallel_step,
    reference_step,
)


def _check(args: DecoderArgs, world_size: int, sizes: dict[str, int]) -> None:
    others = sizes.get("tp", 1) * sizes.get("cp", 1)
    expected = reference_step(args, [make_batch(seed) for seed in range(world_size // others)])
    results = run_ranks(parallel_step, world_size, args, sizes)
    assert results[0].state.keys() == expected.state.keys()
    for result in results:
        assert_same_step(result, expected)


@pytest.mark.parametrize(
    ("world_size", "sizes"),
    [
        (2, {"dp_shard": 2}),
        (2, {"tp": 2}),
        (2, {"cp": 2}),
        (4, {"tp": 2, "dp_shard": 2}),
        (4, {"tp": 2, "cp": 2}),
        (4, {"cp": 4}),
    ],
    ids=str,
)
def test_step_of_a_dense_model_equals_that_of_one_process(world_size: int, sizes: dict[str, int]) -> None:
    _check(DENSE, world_size, sizes)


@pytest.mark.parametrize(
    ("world_size", "sizes"),
    [
        (2, {"dp_shard": 2}),
        (2, {"dp_shard": 2, "ep": 2}),
        (2, {"tp": 2}),
        (2, {"tp": 2, "ep": 2}),
        (4, {"dp_shard": 4, "ep": 2}),
        (4, {"dp_shard": 2, "tp": 2, "ep": 4}),
        (4, {"dp_shard": 2, "tp": 2, "ep": 2, "etp": 2}),
        (4, {"dp_shard": 2, "tp": 2, "ep": 2}),
        (4, {"cp": 2, "tp": 2, "ep": 4}),
    ],
    ids=str,
)
def test_step_of_a_model_with_experts_equals_that_of_one_process(world_size: int, sizes: dict[str, int]) -> None:
    _check(MOE, world_size, sizes)


@pytest.mark.parametrize("sizes", [{"tp": 2}, {"cp": 2}], ids=str)
@pytest.mark.parametrize(
    "args",
    [MIXERS, RICH, TIED, CRITIC, POSITIONS, ALIBI, SHORT_CONV],
    ids=["mixers", "rich", "tied", "critic", "positions", "alibi", "short conv"],
)
def test_step_of_other_options_equals_that_of_one_process(args: DecoderArgs, sizes: dict[str, int]) -> None:
    _check(args, 2, sizes)


def test_step_of_biased_experts_cut_inside_equals_that_of_one_process() -> None:
    _check(MOE_BIASED, 4, {"dp_shard": 2, "tp": 2, "ep": 2, "etp": 2})


@pytest.mark.parametrize("args", [DENSE, TIED, POSITIONS], ids=["untied", "tied", "positions"])
def test_step_with_a_vocabulary_that_does_not_divide_equals_that_of_one_process(args: DecoderArgs) -> None:
    _check(replace(args, vocab_size=VOCAB + 1), 4, {"dp_shard": 2, "tp": 2})
