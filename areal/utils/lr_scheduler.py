# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Learning-rate schedules as pure functions of the step, and the counter that applies them to optimizers.

Called by training engines. The schedule is never part of an optimizer's saved state: a resumed run saves the step alone,
so that a changed configuration takes effect.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from areal.utils.errors import ConfigError

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from areal.api.cli_args import OptimizerConfig


def get_num_warmup_steps(config: OptimizerConfig, total_train_steps: int) -> int:
    """`warmup_steps` if given, else floor(`warmup_steps_proportion` * total). `ConfigError` when negative."""
    steps = config.warmup_steps
    if steps is None:
        steps = math.floor(config.warmup_steps_proportion * total_train_steps)
    if steps < 0:
        raise ConfigError(f"expected warm-up steps >= 0, got {steps}; set optimizer.warmup_steps")
    return steps


def lr_factor(config: OptimizerConfig, step: int, total_train_steps: int) -> float:
    """Share of the peak learning rate in force at `step` (0-based; the first update uses step 0).

    With warm-up length w, total n, floor r = `min_lr_ratio` and progress x = min(1, (step - w) / (n - w)):
        constant  warm-up step / w from 0, then 1
        linear    warm-up step / w from 0, then r + (1 - r) (1 - x)
        cosine    warm-up r + (1 - r) step / w, then r + (1 - r) (1 + cos(pi x)) / 2
    Progress stops at 1: steps beyond n keep the final rate.
    """
    num_warmup = get_num_warmup_steps(config, total_train_steps)
    floor = config.min_lr_ratio
    kind = config.lr_scheduler_type
    if step < num_warmup:
        start = floor if kind == "cosine" else 0.0
        return start + (1.0 - start) * step / num_warmup
    progress = min(1.0, (step - num_warmup) / max(1, total_train_steps - num_warmup))
    if kind == "constant":
        return 1.0
    if kind == "linear":
        return floor + (1.0 - floor) * (1.0 - progress)
    if kind == "cosine":
        return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))
    raise ConfigError(f"expected lr_scheduler_type constant, linear or cosine, got {kind!r}")


class LRSchedule:
    """Holds the step of the schedule and keeps the learning rate of some optimizers at its value."""

    def __init__(self, config: OptimizerConfig, total_train_steps: int, optimizers: Iterable[Optimizer]) -> None:
        self._config = config
        self._total_train_steps = total_train_steps
        self._optimizers = list(optimizers)
        self.set_step(0)

    @property
    def lr(self) -> float:
        """The learning rate in force."""
        return self._config.lr * lr_factor(self._config, self.current_step, self._total_train_steps)

    def step(self) -> None:
        """Advance by one training step."""
        self.set_step(self.current_step + 1)

    def set_step(self, step: int) -> None:
        """Go to a step, as a resumed run does."""
        self.current_step = step
        lr = self.lr
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
