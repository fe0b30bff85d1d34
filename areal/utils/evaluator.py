# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""When to evaluate: by epochs, steps or seconds, and once before the first update if asked. Trainers call it.

What an evaluation does is the caller's function; this module only decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from areal.utils.timeutil import EpochStepTimeFreqCtl

if TYPE_CHECKING:
    from areal.api.cli_args import EvaluatorConfig
    from areal.api.io_struct import FinetuneSpec


class Evaluator:
    """Runs a function when the configured frequency fires."""

    def __init__(self, config: EvaluatorConfig, ft_spec: FinetuneSpec) -> None:
        self._ft_spec = ft_spec
        self._timer = EpochStepTimeFreqCtl(config.freq_epochs, config.freq_steps, config.freq_secs)
        self._before_train = config.eval_before_train

    def evaluate_before_train(self, fn: Callable[[], object]) -> bool:
        """Run `fn` if `eval_before_train` is set and this run has not trained yet; says whether it ran.

        Call it before the first step: a resumed run has its initial evaluation behind it.
        """
        due, self._before_train = self._before_train, False
        if due:
            fn()
        return due

    def evaluate(
        self, fn: Callable[[], object], epoch: int, step: int, global_step: int, *, final: bool = False
    ) -> bool:
        """Run `fn` if it is due after this step (counts start at 0), or if this is the `final` one; says whether it ran.

        Call it every step: it advances the frequency.
        """
        is_epoch_end = step == self._ft_spec.steps_per_epoch - 1
        due = self._timer.check(epochs=int(is_epoch_end), steps=1) or final
        if due:
            fn()
        return due

    def state_dict(self) -> dict[str, Any]:
        """Progress of the frequency."""
        return {"timer": self._timer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the frequency; a run with a state has trained, so no evaluation before training is due."""
        self._timer.load_state_dict(state["timer"])
        self._before_train = False
