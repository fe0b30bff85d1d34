# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Weights & Biases. Only imported when `stats_logger.wandb.mode` is not "disabled"."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from areal.utils.stats_backends.base import import_optional

if TYPE_CHECKING:
    from areal.api.cli_args import StatsLoggerConfig


class WandbBackend:
    """One wandb run, `{experiment}_{trial}_{suffix}`, which a resumed run continues."""

    def __init__(self, config: StatsLoggerConfig, redacted_config: Mapping[str, Any], folder: Path) -> None:
        wandb = import_optional("wandb", "wandb", "wandb")
        settings = config.wandb
        if settings.wandb_api_key:
            wandb.login(key=settings.wandb_api_key, host=settings.wandb_base_url or None)
        suffix = time.strftime("%Y%m%d_%H%M%S") if settings.id_suffix == "timestamp" else settings.id_suffix
        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            mode=settings.mode,
            entity=settings.entity,
            project=settings.project or config.experiment_name,
            name=settings.name or config.trial_name,
            job_type=settings.job_type,
            group=settings.group,
            notes=settings.notes,
            tags=settings.tags,
            config=dict(redacted_config),
            dir=str(folder),
            id=f"{config.experiment_name}_{config.trial_name}_{suffix}",
            resume="allow",
        )

    def log(self, log_step: int, row: Mapping[str, float]) -> None:
        """Hand the row to wandb's own process."""
        self._run.log(dict(row), step=log_step)

    def resume_after(self, log_step: int) -> None:
        """Nothing to do: wandb itself ignores steps it has seen."""

    def close(self) -> None:
        """Upload what is pending and finish the run."""
        self._run.finish()
