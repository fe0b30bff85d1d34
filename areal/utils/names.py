# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Where the files of a run lie. Pure: these functions build paths and never create them.

Layout: `{fileroot}/logs/{user}/{experiment}/{trial}` (the run directory) and
`{fileroot}/checkpoints/{user}/{experiment}/{trial}/{name}`.
"""

from __future__ import annotations

import getpass
import os
from pathlib import Path


def user_name() -> str:
    """Login name of this process; a container without a passwd entry gets `uid<n>`."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # KeyError up to Python 3.12, OSError since 3.13
        return f"uid{os.getuid()}"


def log_dir(fileroot: str | Path, experiment_name: str, trial_name: str) -> Path:
    """The run directory: statistics, traces, rollouts, logs and the report. Raises `ValueError` on an empty or nested name."""
    return _run_path(fileroot, "logs", experiment_name, trial_name)


def checkpoint_root(fileroot: str | Path, experiment_name: str, trial_name: str, name: str | None = None) -> Path:
    """Directory of all checkpoints of a run, or of one model `name` ("default", "critic") of it."""
    root = _run_path(fileroot, "checkpoints", experiment_name, trial_name)
    return root if name is None else root / _component("checkpoint name", name)


def _run_path(fileroot: str | Path, kind: str, experiment_name: str, trial_name: str) -> Path:
    experiment = _component("experiment_name", experiment_name)
    trial = _component("trial_name", trial_name)
    return Path(fileroot) / kind / user_name() / experiment / trial


def _component(what: str, value: str) -> str:
    """`value` as one path component: a name with a separator or `..` would leave the run's own directory."""
    if not value or value in (".", "..") or "/" in value or os.sep in value:
        raise ValueError(f"{what} must be a plain directory name, got {value!r}; set it to e.g. 'gsm8k-grpo'")
    return value
