# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What a statistics backend does, and the one way a missing optional package is reported."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Protocol

from areal.utils.errors import ConfigError


class StatsBackend(Protocol):
    """Receives one row a commit, in order. `log` must not wait for a network."""

    def log(self, log_step: int, row: Mapping[str, float]) -> None:
        """Take the statistics of one step."""
        ...

    def resume_after(self, log_step: int) -> None:
        """Forget rows after `log_step`: the run goes on from a checkpoint of that step. Called before the first `log`."""
        ...

    def close(self) -> None:
        """Write out what is pending."""
        ...


def import_optional(module: str, extra: str, setting: str) -> Any:
    """Import an optional package, or raise `ConfigError` with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"stats_logger.{setting} is on, which needs the package {module!r}, but it does not import ({error}): "
            f"run `pip install 'areal[{extra}]'` or switch stats_logger.{setting} off"
        ) from error
