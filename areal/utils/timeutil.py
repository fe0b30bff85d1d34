# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""When something periodic is due: every n steps, every n epochs, every n seconds.

Saver, evaluator and recovery each own one `EpochStepTimeFreqCtl`; one controller serves one thing, never two.
The configured frequencies are never part of the state: after a restart the current configuration decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class FrequencyControl:
    """Fires when every configured condition holds since the last firing; with none configured it never fires.

    `frequency_seconds` is wall time; with a `group` the ranks agree on the longest, so that they fire together.
    `initial_value=True` makes the very first check fire. `clock` returns seconds and exists for tests.
    """

    def __init__(
        self,
        frequency_seconds: float | None = None,
        frequency_steps: int | None = None,
        initial_value: bool = False,
        group: ProcessGroup | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value in (("frequency_seconds", frequency_seconds), ("frequency_steps", frequency_steps)):
            if value is not None and value <= 0:
                raise ValueError(f"{name} is > 0 or None (never), got {value}")
        self.frequency_seconds = frequency_seconds
        self.frequency_steps = frequency_steps
        self._group = group
        self._clock = clock
        self._fire_now = initial_value
        self._steps = 0
        self._last_fired_s = clock()

    def check(self, steps: int = 1) -> bool:
        """Advance by `steps` and say whether it is due; firing restarts the count and the clock."""
        self._steps += steps
        elapsed_s = self._elapsed_s()
        if self._fire_now:
            due = True
        elif self.frequency_seconds is None and self.frequency_steps is None:
            due = False
        else:
            due = (self.frequency_seconds is None or elapsed_s >= self.frequency_seconds) and (
                self.frequency_steps is None or self._steps >= self.frequency_steps
            )
        if due:
            self._fire_now = False
            self._steps = 0
            self._last_fired_s = self._clock()
        return due

    def state_dict(self) -> dict[str, Any]:
        """Progress towards the next firing (seconds as elapsed time: clocks do not survive a restart)."""
        return {
            "steps": self._steps,
            "elapsed_s": self._clock() - self._last_fired_s,
            "fire_now": self._fire_now,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the progress; the frequencies stay those of the constructor."""
        self._steps = state["steps"]
        self._last_fired_s = self._clock() - state["elapsed_s"]
        self._fire_now = state["fire_now"]

    def _elapsed_s(self) -> float:
        elapsed_s = self._clock() - self._last_fired_s
        if self.frequency_seconds is None or self._group is None:
            return elapsed_s
        import torch
        import torch.distributed as dist

        # A group of one backend takes tensors of its own device only.
        device = "cuda" if dist.get_backend(self._group) == "nccl" else "cpu"
        longest = torch.tensor(elapsed_s, dtype=torch.float64, device=device)
        dist.all_reduce(longest, dist.ReduceOp.MAX, self._group)
        return float(longest)


class EpochStepTimeFreqCtl:
    """Due when an epoch, a step or a time frequency is due; each advances on every call, none masks another.

    The unit of `check(epochs=...)` is finished epochs: 1 on the last step of an epoch, else 0.
    """

    def __init__(
        self,
        freq_epoch: int | None,
        freq_step: int | None,
        freq_sec: float | None,
        initial_epoch_value: bool = False,
        group: ProcessGroup | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.epoch_ctl = FrequencyControl(
            frequency_steps=freq_epoch, initial_value=initial_epoch_value, group=group, clock=clock
        )
        self.step_ctl = FrequencyControl(frequency_steps=freq_step, group=group, clock=clock)
        self.time_ctl = FrequencyControl(frequency_seconds=freq_sec, group=group, clock=clock)

    def check(self, epochs: int, steps: int) -> bool:
        """Advance by finished `epochs` and `steps`; True when any of the three frequencies is due."""
        # No short circuit: each controller must see every call.
        due = [self.epoch_ctl.check(epochs), self.step_ctl.check(steps), self.time_ctl.check(steps)]
        return any(due)

    def state_dict(self) -> dict[str, Any]:
        """Progress of the three controllers."""
        return {
            "epoch": self.epoch_ctl.state_dict(),
            "step": self.step_ctl.state_dict(),
            "time": self.time_ctl.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the progress of the three controllers."""
        self.epoch_ctl.load_state_dict(state["epoch"])
        self.step_ctl.load_state_dict(state["step"])
        self.time_ctl.load_state_dict(state["time"])
