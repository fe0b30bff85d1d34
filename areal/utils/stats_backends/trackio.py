# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Trackio, local first. Only imported when `stats_logger.trackio.mode` is not "disabled"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from areal.utils.stats_backends.base import import_optional

if TYPE_CHECKING:
    from areal.api.cli_args import StatsLoggerConfig


class TrackioBackend:
    """One trackio run; `mode: online` also shows it in the space `space_id`."""

    def __init__(self, config: StatsLoggerConfig, redacted_config: Mapping[str, Any]) -> None:
        trackio = import_optional("trackio", "wandb", "trackio")
        settings = config.trackio
        self._run = trackio.init(
            project=settings.project or config.experiment_name,
            name=settings.name or config.trial_name,
            space_id=settings.space_id if settings.mode == "online" else None,
            config=dict(redacted_config),
            resume="allow",
        )

    def log(self, log_step: int, row: Mapping[str, float]) -> None:
        """Queue the row."""
        self._run.log(dict(row), step=log_step)

    def resume_after(self, log_step: int) -> None:
        """Nothing to do: trackio keeps every row it was given and plots the last one of a step."""

    def close(self) -> None:
        """Write what is queued and finish the run."""
        self._run.finish()
