# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Pipeline parallelism: partitions worked out by hand, and steps under every schedule against one process."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.parallel.activation import ActivationCheckpointConfig
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.parallelize import parallelize_decoder
from areal.experimental.models.archon.parallel.pipeline import PipelineRunner, StageInputs, pad_inputs
from areal.experimental.models.archon.parallel.stages import (
    count_stages,
    generate_llm_fqn_per_model_part,
    model_parts,
    part_of_names,
    rank_of_stage,
    stages_of_rank,
)
from areal.utils.errors import ConfigError
from tests.distributed import run_ranks
from tests.experimental.models.archon.parallel.cases import (
    DENSE,
    MOE,
    TIED,
    assert_same_step,
    make_batch,
    make_model,
    micro_batch_lengths,
    pipeline_step,
    reference_step,
)

DENSE_4 = replace(DENSE, layers=DENSE.layers * 2)
TIED_4 = replace(TIED, layers=DENSE_4.layers)
MOE_4 = replace(MOE, layers=MOE.layers * 2)


def _layers(*indices: int) -> list[str]:
    return [f"layers.{i}" for i in indices]


def test_partition_of_eight_layers_over_four_stages_spares_first_and_last() -> None:
    assert generate_llm_fqn_per_model_part(4, 8) == [
        ["tok_embeddings", *_layers(0, 1)],
        _layers(2, 3, 4),
        _layers(5, 6),
        [*_layers(7), "norm", "output"],
    ]


def test_partition_of_one_stage_holds_everything() -> None:
    expected = ["tok_embeddings", *_layers(0, 1), "norm", "score"]
    assert generate_llm_fqn_per_model_part(1, 2, is_critic=True) == [expected]


def test_partition_without_less_layers_is_even() -> None:
    parts = generate_llm_fqn_per_model_part(2, 4, 0, 0)
    assert parts == [["tok_embeddings", *_layers(0, 1)], [*_layers(2, 3), "norm", "output"]]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, 4), "got 0"),
        ((7, 4), "at most 6 .* got 7"),
        ((2, 4, 5, 0), "<= 4 .* got 5"),
        ((2, 4, 0, 5), "<= 4 .* got 5"),
    ],
)
def test_partitions_that_cannot_be_are_refused(arguments: tuple[int, ...], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        generate_llm_fqn_per_model_part(*arguments)


def test_part_of_names_of_an_inner_stage_has_neither_end() -> None:
    part = part_of_names(_layers(2, 3))
    assert (part.first_layer, part.last_layer, part.has_embedding, part.has_head) == (2, 4, False, False)


def test_stages_of_ranks_loop_or_turn_round() -> None:
    assert [stages_of_rank(rank, 2, 4, "Interleaved1F1B") for rank in (0, 1)] == [(0, 2), (1, 3)]
    assert [stages_of_rank(rank, 2, 4, "ZBVZeroBubble") for rank in (0, 1)] == [(0, 3), (1, 2)]
    assert [rank_of_stage(stage, 2, 4, "ZBVZeroBubble") for stage in range(4)] == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((8, 2, "GPipe"), "got 'GPipe'"),
        ((8, 2, "1F1B", 2), "exactly 1 .* got 2"),
        ((8, 2, "Interleaved1F1B", 4), "at least 2 .* got 1"),
        ((12, 2, "ZBVZeroBubble", 2), "exactly 2 .* got 3"),
        ((9, 2, "Interleaved1F1B", 3), "divisible by pp = 2, got 3"),
    ],
)
def test_numbers_of_stages_that_a_schedule_cannot_run_are_refused(arguments: tuple[int, int, str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        count_stages(*arguments)


def test_padding_adds_short_dummy_sequences() -> None:
    row = torch.arange(5).unsqueeze(0)
    inputs = StageInputs(tokens=row, positions=row, labels=row, cu_seqlens=torch.tensor([0, 5]), max_seqlen=5)
    padded = pad_inputs(inputs, 140)
    assert padded.cu_seqlens.tolist() == [0, 5, 133, 140]
    assert padded.positions[0, [4, 5, 132, 133, 139]].tolist() == [4, 0, 127, 0, 6]
    assert padded.max_seqlen == 128


def _check(
    args: DecoderArgs,
    world_size: int,
    sizes: dict[str, int],
    schedule: str,
    num_batches: int,
    options: dict[str, Any] | None = None,
) -> None:
    dp = world_size // (sizes["pp"] * sizes.get("tp", 1) * sizes.get("cp", 1))
    batches = [make_batch(seed, micro_batch_lengths(seed)) for seed in range(dp * num_batches)]
    expected = reference_step(args, batches)
    results = run_ranks(pipeline_step, world_size, args, sizes, schedule, num_batches, options)
    assert set().union(*(result.state for result in results)) == expected.state.keys()
    for result in results:
        assert_same_step(result, expected)


SCHEDULES = ("1F1B", "Interleaved1F1B", "InterleavedZeroBubble", "ZBVZeroBubble")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_step_of_a_dense_model_in_two_stages_equals_that_of_one_process(schedule: str) -> None:
    _check(DENSE_4, 2, {"pp": 2}, schedule, num_batches=4)


@pytest.mark.parametrize("schedule", ["1F1B", "ZBVZeroBubble"])
def test_step_with_experts_and_sharded_stages_equals_that_of_one_process(schedule: str) -> None:
    _check(MOE_4, 4, {"pp": 2, "dp_shard": 2, "ep": 2}, schedule, num_batches=2)


@pytest.mark.parametrize("schedule", ["1F1B", "Interleaved1F1B"])
def test_step_in_all_dimensions_on_eight_ranks_equals_that_of_one_process(schedule: str) -> None:
    _check(DENSE_4, 8, {"pp": 2, "tp": 2, "dp_shard": 2}, schedule, num_batches=2)


def test_step_with_experts_over_data_and_tensor_ranks_of_stages_equals_that_of_one_process() -> None:
    _check(MOE_4, 8, {"pp": 2, "tp": 2, "dp_shard": 2, "ep": 4}, "Interleaved1F1B", num_batches=2)


@pytest.mark.parametrize(
    ("schedule", "sizes"),
    [("1F1B", {"pp": 2}), ("Interleaved1F1B", {"pp": 2}), ("1F1B", {"pp": 2, "tp": 2}), ("1F1B", {"pp": 4})],
)
def test_step_with_tied_embeddings_on_two_ranks_equals_that_of_one_process(
    schedule: str, sizes: dict[str, int]
) -> None:
    _check(TIED_4, sizes["pp"] * sizes.get("tp", 1), sizes, schedule, num_batches=4)


def test_tied_embeddings_whose_ends_lie_on_one_rank_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"different ranks for tied embeddings, got ZBVZeroBubble; use 1F1B"):
        model_parts(TIED_4, 4, "ZBVZeroBubble")


def test_step_of_a_pipeline_with_context_parallelism_equals_that_of_one_process() -> None:
    _check(DENSE_4, 4, {"pp": 2, "cp": 2}, "1F1B", num_batches=2)


@pytest.mark.parametrize(("mode", "schedule"), [("full", "ZBVZeroBubble"), ("selective", "1F1B")])
def test_step_of_checkpointed_stages_equals_that_of_one_process(mode: Any, schedule: str) -> None:
    options = {"ac_config": ActivationCheckpointConfig(mode=mode)}
    _check(MOE_4, 2, {"pp": 2}, schedule, num_batches=2, options=options)


def _refusals(rank: int, world_size: int) -> list[str]:
    dims = ArchonParallelDims(pp=2, world_size=world_size)
    messages = []
    for options in ({"ac_config": ActivationCheckpointConfig()}, {"enable_compile": True}):
        models = [
            parallelize_decoder(make_model(DENSE_4), dims, param_dtype=torch.float32, **options) for _ in range(2)
        ]
        with pytest.raises(ConfigError) as refusal:
            PipelineRunner(models, dims, "ZBVZeroBubble", 4, torch.float32, torch.device("cpu"))
        messages.append(str(refusal.value))
    runner = PipelineRunner(models[:1], dims, "1F1B", 2, torch.float32, torch.device("cpu"))
    row = torch.arange(5).unsqueeze(0)
    inputs = StageInputs(tokens=row, positions=row, labels=row, cu_seqlens=torch.tensor([0, 5]), max_seqlen=5)
    for micro_batches in ([inputs], [inputs, pad_inputs(inputs, 8)]):
        with pytest.raises(ValueError, match="expected") as refusal:
            runner.run(micro_batches, lambda position, scores: scores.sum(), has_backward=True)
        messages.append(str(refusal.value))
    return messages


def test_what_a_schedule_cannot_run_is_refused() -> None:
    (messages, _) = run_ranks(_refusals, 2)
    for message, text in zip(
        messages, ("selective 'op'", "no compilation", "expected 2 .* got 1", r"got \[5, 8\]"), strict=True
    ):
        assert re.search(text, message), message
