# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The record of a run: one row of statistics a step and a summary, in RUN_DIR and in the chosen dashboards.

The trainer's controller owns the only `StatsLogger` and commits once a step; `areal report` reads what it leaves.
Optional dashboards are imported only when they are on. Must never write or upload a configuration that is not redacted:
it only passes on the one it is given (`areal.api.config.save.conf_as_dict`). Never prints: see `areal.utils.progress`.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from areal.utils import names, stat_keys
from areal.utils.errors import ConfigError
from areal.utils.jsonl import to_line
from areal.utils.logging import getLogger
from areal.utils.printing import tabulate_stats
from areal.utils.stats_backends.base import StatsBackend
from areal.utils.stats_backends.jsonl import JsonlBackend

if TYPE_CHECKING:
    from areal.api.cli_args import BaseExperimentConfig, StatsLoggerConfig
    from areal.api.io_struct import FinetuneSpec

logger = getLogger("stats_logger")

_VERSIONED_PACKAGES = ("areal", "torch", "transformers", "safetensors", "vllm", "sglang")


class StatsLogger:
    """Rows of statistics, numbered by `log_step`. Dashboards show `redacted_config` beside them, where it is given.

    Raises `ValueError` when `config` is not an experiment's, `ConfigError` when a dashboard's package is missing.
    """

    def __init__(
        self,
        config: BaseExperimentConfig,
        ft_spec: FinetuneSpec,
        redacted_config: Mapping[str, Any] | None = None,
    ) -> None:
        if "stats_logger" not in vars(config):
            raise ValueError(
                f"expected the experiment config, got {type(config).__name__}; pass config, not a part of it"
            )
        self._ft_spec = ft_spec
        self._started_unix_s = time.time()
        self._last_step = -1
        self._num_rows = 0
        self.run_dir = self.get_log_path(config.stats_logger)
        self._backends = _open_backends(config.stats_logger, redacted_config or {}, self.run_dir)

    @staticmethod
    def get_log_path(
        config: StatsLoggerConfig | None = None,
        experiment_name: str | None = None,
        trial_name: str | None = None,
        fileroot: str | None = None,
    ) -> Path:
        """Create and return the run directory; `ValueError` unless the three names are given, here or by `config`."""
        if config is not None:
            experiment_name = experiment_name or config.experiment_name
            trial_name = trial_name or config.trial_name
            fileroot = fileroot or config.fileroot
        if not fileroot or not experiment_name or not trial_name:
            raise ValueError(
                "a run directory needs fileroot, experiment_name and trial_name, got "
                f"{fileroot!r}, {experiment_name!r}, {trial_name!r}"
            )
        path = names.log_dir(fileroot, experiment_name, trial_name)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cluster.fileroot: expected a directory to write to, got {fileroot!r} ({error}); choose another"
            ) from error
        return path

    def commit(
        self, epoch: int, step: int, global_step: int, data: Mapping[str, float] | Sequence[Mapping[str, float]]
    ) -> None:
        """Record the statistics of a step (several rows if `data` is a list) in every backend.

        `log_step` is max(global_step, last + 1), so rows never collide. Keys that end in `__count` are dropped.
        """
        for row in [data] if isinstance(data, Mapping) else data:
            self._last_step = max(global_step, self._last_step + 1)
            self._num_rows += 1
            kept = {key: value for key, value in row.items() if not key.endswith("__count")}
            position = {
                stat_keys.GLOBAL_STEP: global_step,
                stat_keys.EPOCH: epoch,
                stat_keys.EPOCH_STEP: step,
                stat_keys.UNIX_TIME_S: time.time(),
            }
            for backend in self._backends:
                backend.log(self._last_step, {**kept, **position})
            if logger.isEnabledFor(logging.DEBUG):
                logger.debug(
                    "epoch %d/%d step %d/%d global step %d/%d\n%s",
                    epoch + 1,
                    self._ft_spec.total_train_epochs,
                    step + 1,
                    self._ft_spec.steps_per_epoch,
                    global_step + 1,
                    self._ft_spec.total_train_steps,
                    tabulate_stats(kept),
                )

    def write_summary(self, **fields: Any) -> dict[str, Any]:
        """Write summary.json, atomically, and return it.

        `fields` are of `stat_keys.SUMMARY_FIELDS`; times, the number of steps and versions are added.
        """
        unknown = sorted(fields.keys() - set(stat_keys.SUMMARY_FIELDS))
        if unknown:
            raise ValueError(f"expected summary fields of {stat_keys.SUMMARY_FIELDS}, got {unknown}")
        derived = {
            "started_unix_s": self._started_unix_s,
            "wall_s": time.time() - self._started_unix_s,
            "num_steps": self._last_step + 1,
            "version_info": version_info(),
        }
        path = self.run_dir / stat_keys.SUMMARY_FILE
        partial = path.with_suffix(".partial")
        finite = json.loads(to_line({**derived, **fields}))
        partial.write_text(json.dumps(finite, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
        return finite

    def state_dict(self) -> dict[str, int]:
        """What a resumed run needs to go on with the same numbering."""
        return {"last_commit_step": self._last_step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on after the step of a checkpoint: rows recorded after it are removed. Before the first commit only."""
        if self._num_rows:
            raise RuntimeError(f"load_state_dict must come before the first commit, got {self._num_rows} rows already")
        self._last_step = int(state["last_commit_step"])
        for backend in self._backends:
            backend.resume_after(self._last_step)

    def close(self) -> None:
        """Close every backend; the logger is of no use afterwards."""
        for backend in self._backends:
            backend.close()
        self._backends = []


def version_info() -> dict[str, str]:
    """Versions of Python and of the packages that decide a run's numbers, as far as they are installed."""
    versions = {"python": platform.python_version()}
    for package in _VERSIONED_PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _open_backends(config: StatsLoggerConfig, redacted_config: Mapping[str, Any], run_dir: Path) -> list[StatsBackend]:
    backends: list[StatsBackend] = [JsonlBackend(run_dir / stat_keys.STATS_FILE)]
    if config.tensorboard.path is not None:
        from areal.utils.stats_backends.tensorboard import TensorBoardBackend

        backends.append(TensorBoardBackend(config.tensorboard.path))
    if config.wandb.mode != "disabled":
        from areal.utils.stats_backends.wandb import WandbBackend

        backends.append(WandbBackend(config, redacted_config, run_dir))
    if config.trackio.mode != "disabled":
        from areal.utils.stats_backends.trackio import TrackioBackend

        backends.append(TrackioBackend(config, redacted_config))
    return backends
