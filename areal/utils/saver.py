# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Exports of trained models for people: when they are due, where they go, how many are kept.

Trainers call it after every step, once for each model. How a model is written is the caller's (`export(path)`). An export
is there whole or not at all; recovery checkpoints are another thing (`areal.utils.recover`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from areal.utils.fs import AtomicDirectory, prune, sweep
from areal.utils.logging import getLogger
from areal.utils.names import checkpoint_root
from areal.utils.timeutil import EpochStepTimeFreqCtl

if TYPE_CHECKING:
    from areal.api.cli_args import SaverConfig
    from areal.api.io_struct import FinetuneSpec

logger = getLogger("saver")

_EXPORT_NAME = re.compile(r"epoch\d+epochstep\d+globalstep\d+")


class Saver:
    """Saves models when their frequency fires; every model name has a frequency of its own."""

    def __init__(self, config: SaverConfig, ft_spec: FinetuneSpec) -> None:
        self._config = config
        self._ft_spec = ft_spec
        self._timers: dict[str, EpochStepTimeFreqCtl] = {}
        self._restored: dict[str, Any] = {}
        self._writing: Path | None = None

    def save_path(self, epoch: int, step: int, global_step: int, name: str = "default") -> Path:
        """Directory of one export (not created): `{checkpoints of the trial}/{name}/epoch..epochstep..globalstep..`."""
        config = self._config
        root = checkpoint_root(config.fileroot, config.experiment_name, config.trial_name, name)
        return root / f"epoch{epoch}epochstep{step}globalstep{global_step}"

    def save(
        self,
        export: Callable[[str], object],
        epoch: int,
        step: int,
        global_step: int,
        name: str = "default",
        *,
        final: bool = False,
        finish: Callable[[], object] | None = None,
    ) -> Path | None:
        """Let `export(path)` write the model if it is due, or if this is the `final` step; returns where, or None.

        Counts start at 0. Call it once a step and name, also when nothing is due: it advances the frequency. `path` does not
        exist when `export` is called. The newest `keep_last` exports of the name remain. Raises `CheckpointError` when the
        disk is full; earlier exports stay.

        With `finish`, exports are written while training goes on: `export` makes `path` appear by itself, later, and
        `finish()` waits for the last one. It is called before the next export, whose call raises what went wrong, and at once
        for the `final` step.
        """
        is_epoch_end = step == self._ft_spec.steps_per_epoch - 1
        due = self._timer(name).check(epochs=int(is_epoch_end), steps=1)
        if not due and not final:
            return None
        path = self.save_path(epoch, step, global_step, name)
        if finish is not None:
            self._finish(finish)
        sweep(path.parent)
        if finish is None:
            with AtomicDirectory(path, fsync=True) as tmp:
                export(str(tmp))
            self._tidy(path)
            return path
        export(str(path))
        self._writing = path
        if final:
            self._finish(finish)
        return path

    def _finish(self, finish: Callable[[], object]) -> None:
        """Wait for the export that is being written."""
        path, self._writing = self._writing, None
        if path is not None:
            finish()
            self._tidy(path)

    def _tidy(self, path: Path) -> None:
        """Remove what is too old now that `path` is there."""
        exports = [entry for entry in path.parent.iterdir() if _EXPORT_NAME.fullmatch(entry.name)]
        removed = prune(exports, self._config.keep_last)
        logger.info("saved %s%s", path, f" (removed {len(removed)} older)" if removed else "")

    def _timer(self, name: str) -> EpochStepTimeFreqCtl:
        if name not in self._timers:
            config = self._config
            timer = EpochStepTimeFreqCtl(config.freq_epochs, config.freq_steps, config.freq_secs)
            if name in self._restored:
                timer.load_state_dict(self._restored[name])
            self._timers[name] = timer
        return self._timers[name]

    def state_dict(self) -> dict[str, Any]:
        """Progress of every model's frequency; never the frequencies, which are the configuration's."""
        return self._restored | {name: timer.state_dict() for name, timer in self._timers.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the frequencies where `state_dict` left them."""
        self._restored = dict(state)
        self._timers.clear()
