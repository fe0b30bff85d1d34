# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from areal.api.cli_args import OptimizerConfig
from areal.utils.lr_scheduler import LRSchedule, get_num_warmup_steps, lr_factor


@pytest.mark.parametrize(
    ("kind", "floor", "expected"),
    [
        # total 10, warm-up 2; worked out by hand from the formulas in the docstring of lr_factor
        ("constant", 0.0, {0: 0.0, 1: 0.5, 2: 1.0, 9: 1.0, 50: 1.0}),
        ("linear", 0.0, {0: 0.0, 1: 0.5, 2: 1.0, 6: 0.5, 10: 0.0, 50: 0.0}),
        ("linear", 0.2, {1: 0.5, 2: 1.0, 6: 0.6, 10: 0.2}),
        ("cosine", 0.0, {0: 0.0, 1: 0.5, 2: 1.0, 4: 0.8535533905932737, 6: 0.5, 10: 0.0, 50: 0.0}),
        ("cosine", 0.1, {0: 0.1, 1: 0.55, 2: 1.0, 6: 0.55, 10: 0.1, 18: 0.1}),
    ],
)
def test_lr_factor_each_schedule_gives_hand_computed_values(kind: str, floor: float, expected: dict[int, float]):
    config = OptimizerConfig(lr_scheduler_type=kind, min_lr_ratio=floor, warmup_steps=2)
    for step, value in expected.items():
        assert lr_factor(config, step, 10) == pytest.approx(value), step


def test_lr_factor_no_warmup_starts_at_the_peak():
    for kind in ("constant", "linear", "cosine"):
        assert lr_factor(OptimizerConfig(lr_scheduler_type=kind, warmup_steps=0), 0, 10) == 1.0


def test_get_num_warmup_steps_proportion_is_rounded_down_and_steps_win():
    assert get_num_warmup_steps(OptimizerConfig(warmup_steps_proportion=0.05), 59) == 2
    assert get_num_warmup_steps(OptimizerConfig(warmup_steps=7), 59) == 7


def test_lr_schedule_step_sets_all_groups_of_all_optimizers():
    optimizers = [
        torch.optim.SGD([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)]}], lr=1.0) for _ in range(2)
    ]
    schedule = LRSchedule(OptimizerConfig(lr=0.5, warmup_steps=4), 10, optimizers)
    schedule.step()
    assert schedule.lr == pytest.approx(0.125)
    assert {group["lr"] for optimizer in optimizers for group in optimizer.param_groups} == {schedule.lr}
    schedule.set_step(4)
    assert optimizers[1].param_groups[1]["lr"] == pytest.approx(0.5)
