# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""One optimizer step of a tiny family on two ranks against that of one process; called by the layout tests of all families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from areal.experimental.models.archon.model_args import DecoderArgs
from tests.distributed import run_ranks
from tests.experimental.models.archon.parallel import cases

NUM_MICRO_BATCHES = 4
LIMIT = 1e-5
"""Largest difference of a parameter after the step, and of loss and gradient norm relative to theirs."""
LONG_STEP = 32.0
"""Length of a step beyond which the limit grows with it, as rounding does: tiny models of most families make shorter ones."""


def assert_steps_are_those_of_one_process(args: DecoderArgs, layouts: Sequence[dict[str, int]]) -> None:
    """Loss, gradient norm and parameters after a step in each layout; all layouts in one start of the ranks."""
    args = replace(DecoderArgs(**vars(args)), vocab_size=cases.VOCAB, max_positions=256)
    expected = [_step_of_one_process(args, sizes) for sizes in layouts]
    for rank, steps in enumerate(run_ranks(_steps_of_rank, 2, args, layouts)):
        for sizes, got, wanted in zip(layouts, steps, expected, strict=True):
            _assert_same(got, wanted, f"rank {rank} of {sizes}")


def _step_of_one_process(args: DecoderArgs, sizes: dict[str, int]) -> cases.Step:
    if "pp" in sizes:
        micro_batches = [cases.make_batch(seed, cases.micro_batch_lengths(seed)) for seed in range(NUM_MICRO_BATCHES)]
        return cases.reference_step(args, micro_batches)
    num_replicas = 2 // (sizes.get("tp", 1) * sizes.get("cp", 1))
    return cases.reference_step(args, [cases.make_batch(seed) for seed in range(num_replicas)])


def _steps_of_rank(
    rank: int, world_size: int, args: DecoderArgs, layouts: Sequence[dict[str, int]]
) -> list[cases.Step]:
    return [
        cases.pipeline_step(rank, world_size, args, sizes, "1F1B", NUM_MICRO_BATCHES)
        if "pp" in sizes
        else cases.parallel_step(rank, world_size, args, sizes)
        for sizes in layouts
    ]


def _assert_same(got: cases.Step, wanted: cases.Step, where: str) -> None:
    length = cases.LEARNING_RATE * wanted.grad_norm
    limit = LIMIT * (length if length > LONG_STEP else 1.0)
    assert abs(got.loss - wanted.loss) <= LIMIT * max(1.0, abs(wanted.loss)), f"loss of {where}"
    assert abs(got.grad_norm - wanted.grad_norm) <= LIMIT * wanted.grad_norm, f"gradient norm of {where}"
    assert got.state and got.state.keys() <= wanted.state.keys(), f"parameters of {where}"
    errors = {name: float((value - wanted.state[name]).abs().max()) for name, value in got.state.items()}
    assert {name: error for name, error in errors.items() if not error <= limit} == {}, where
