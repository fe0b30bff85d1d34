# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""One optimizer step of every family on two ranks, in each layout that it claims, equals that of one process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from areal.experimental.models.archon.families import FAMILIES
from areal.experimental.models.archon.model_args import DecoderArgs
from areal.experimental.models.archon.model_spec import get_model_spec
from areal.experimental.models.archon.proof.tiny import tiny_configs
from tests.distributed import run_ranks
from tests.experimental.models.archon.parallel import cases

COMPOSITE = {"qwen3_5", "qwen3_5_moe"}
"""Read into the same arguments as their text models."""
NUM_MICRO_BATCHES = 4


def tiny_args(model_type: str) -> DecoderArgs:
    config = tiny_configs(model_type)[0]
    args = get_model_spec(model_type).model_args_class.from_hf_config(config)
    return replace(DecoderArgs(**vars(args)), vocab_size=cases.VOCAB, tie_embeddings=False)


def layouts_of(args: DecoderArgs) -> list[dict[str, int]]:
    sizes = [{"tp": 2}, {"cp": 2}, {"dp_shard": 2}]
    return [*sizes, {"dp_shard": 2, "ep": 2}] if args.moe_layers else sizes


def all_steps(rank: int, world_size: int, args: DecoderArgs, layouts: list[dict[str, int]]) -> list[cases.Step]:
    """In one start of the ranks: a step in each layout, and one in two pipeline stages."""
    options: dict[str, Any] = {"schedule": "1F1B", "num_batches": NUM_MICRO_BATCHES}
    steps = [cases.parallel_step(rank, world_size, args, sizes) for sizes in layouts]
    return [*steps, cases.pipeline_step(rank, world_size, args, {"pp": 2}, **options)]


def assert_same(got: cases.Step, wanted: cases.Step, where: str) -> None:
    """Loss and gradient norm within 1e-5, parameters within 1e-5 of the length of the step (rounding grows with it)."""
    limit = 1e-5 * max(1.0, cases.LEARNING_RATE * wanted.grad_norm)
    assert abs(got.loss - wanted.loss) <= 1e-5 * max(1.0, abs(wanted.loss)), f"loss of {where}"
    assert abs(got.grad_norm - wanted.grad_norm) <= 1e-5 * wanted.grad_norm, f"gradient norm of {where}"
    assert got.state and got.state.keys() <= wanted.state.keys()
    errors = {name: float((value - wanted.state[name]).abs().max()) for name, value in got.state.items()}
    assert {name: error for name, error in errors.items() if not error <= limit} == {}, where


@pytest.mark.parametrize("model_type", sorted(set(FAMILIES) - COMPOSITE))
def test_step_on_two_ranks_in_any_layout_equals_that_of_one_process(model_type):
    args = tiny_args(model_type)
    layouts = layouts_of(args)
    replicas = [2 // (sizes.get("tp", 1) * sizes.get("cp", 1)) for sizes in layouts]
    expected = [cases.reference_step(args, [cases.make_batch(seed) for seed in range(count)]) for count in replicas]
    micro_batches = [cases.make_batch(seed, cases.micro_batch_lengths(seed)) for seed in range(NUM_MICRO_BATCHES)]
    expected.append(cases.reference_step(args, micro_batches))
    for rank, steps in enumerate(run_ranks(all_steps, 2, args, layouts)):
        for sizes, got, wanted in zip([*layouts, {"pp": 2}], steps, expected, strict=True):
            assert_same(got, wanted, f"rank {rank} of {sizes}")


def test_composite_types_have_the_arguments_of_their_text_models():
    for model_type in COMPOSITE:
        assert tiny_args(model_type) == tiny_args(f"{model_type}_text")
