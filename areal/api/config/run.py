# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Settings around the algorithm: data, saving, evaluation, recovery, logging, the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from areal.api.config.fields import check_fields, secret_or_env, setting


@dataclass
class _Timer:
    """Something that fires every so many epochs, steps or seconds; conditions that are None never fire."""

    experiment_name: str = setting("", "Name of the experiment; filled from the top level.")
    trial_name: str = setting("", "Name of the trial; filled from the top level.")
    fileroot: str = setting("", "Root of all files; filled from cluster.fileroot.")
    freq_epochs: int | None = setting(None, "Fire after this many epochs.", unit="epochs", ge=1)
    freq_steps: int | None = setting(None, "Fire after this many steps.", unit="steps", ge=1)
    freq_secs: int | None = setting(None, "Fire after this much time.", unit="s", ge=1)

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass
class SaverConfig(_Timer):
    """Export of HF checkpoints."""

    keep_last: int | None = setting(None, "Exports kept, newest first; None keeps all.", ge=1)
    mode: str = setting(
        "auto",
        "Exports are written before the next step (sync) or while training goes on (async); auto is async with archon.",
        choices=("auto", "sync", "async"),
    )

    def is_async(self, backend: str) -> bool:
        """Whether exports of an engine of this backend string are written while training goes on."""
        return self.mode == "async" or (self.mode == "auto" and backend.startswith("archon"))


@dataclass
class EvaluatorConfig(_Timer):
    """Evaluation on the validation data."""

    eval_before_train: bool = setting(False, "Evaluate once before the first update.")


@dataclass
class RecoverConfig(_Timer):
    """Checkpoints for resuming a stopped run."""

    mode: str = setting(
        "disabled", "Save and resume (on, auto), or not (off, disabled).", choices=("disabled", "off", "on", "auto")
    )
    keep_last: int = setting(2, "Recovery checkpoints kept.", ge=1)

    def __post_init__(self) -> None:
        # YAML 1.1 reads a bare `on` and `off` as booleans, which arrive here as these words.
        self.mode = {"True": "on", "False": "off"}.get(str(self.mode), self.mode)
        super().__post_init__()


@dataclass
class WandBConfig:
    """Weights & Biases; used only when the package is installed and mode is not disabled."""

    mode: str = setting("disabled", "How runs are uploaded.", choices=("disabled", "online", "offline", "shared"))
    wandb_base_url: str = setting("", "Address of the server; empty means the service's own.")
    wandb_api_key: str = setting("", "API key; empty takes the environment variable WANDB_API_KEY.", secret=True)
    entity: str | None = setting(None, "User or team that owns the run.")
    project: str | None = setting(None, "Project; None means experiment_name.")
    name: str | None = setting(None, "Name of the run; None means trial_name.")
    job_type: str | None = setting(None, "Job type shown in the list of runs.")
    group: str | None = setting(None, "Group shown in the list of runs.")
    notes: str | None = setting(None, "Free text shown with the run.")
    tags: list[str] | None = setting(None, "Tags shown with the run.")
    id_suffix: str = setting("train", "End of the run id; `timestamp` puts the time.")

    def __post_init__(self) -> None:
        self.wandb_api_key = secret_or_env(self.wandb_api_key, "WANDB_API_KEY")
        check_fields(self)


@dataclass
class TensorBoardConfig:
    """TensorBoard event files."""

    path: str | None = setting(None, "Folder of the event files; None writes none.")

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass
class TrackioConfig:
    """Trackio; used only when the package is installed and mode is not disabled."""

    mode: str = setting("disabled", "Where runs are kept.", choices=("disabled", "online", "local"))
    project: str | None = setting(None, "Project; None means experiment_name.")
    name: str | None = setting(None, "Name of the run; None means trial_name.")
    space_id: str | None = setting(None, "Space that shows the runs when mode is online.")

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass
class StatsLoggerConfig:
    """Where statistics go; a JSON-lines file in the log folder is always written."""

    experiment_name: str = setting("", "Name of the experiment; filled from the top level.")
    trial_name: str = setting("", "Name of the trial; filled from the top level.")
    fileroot: str = setting("", "Root of logs; filled from cluster.fileroot.")
    wandb: WandBConfig = setting(factory=WandBConfig, help="Weights & Biases tracking.")
    tensorboard: TensorBoardConfig = setting(factory=TensorBoardConfig, help="TensorBoard event files.")
    trackio: TrackioConfig = setting(factory=TrackioConfig, help="Trackio experiment tracking.")

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass
class PerfTracerConfig:
    """Timeline of a run, readable by Perfetto."""

    experiment_name: str = setting("", "Name of the experiment; filled from the top level.")
    trial_name: str = setting("", "Name of the trial; filled from the top level.")
    fileroot: str = setting("", "Root of the trace files; filled from cluster.fileroot.")
    enabled: bool = setting(False, "Record the timeline.")
    save_interval: int = setting(1, "Write it every so many steps.", unit="steps", ge=1)

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass
class ClusterSpecConfig:
    """The machine and the root of its files."""

    fileroot: str = setting("/tmp/areal/", "Root of logs and checkpoints.")
    n_nodes: int = setting(1, "Machines of the run.", ge=1)
    n_gpus_per_node: int | None = setting(None, "GPUs of a machine that the run may use; None means all.", ge=0)

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass
class SchedulerConfig:
    """Who starts the workers."""

    type: str | None = setting(
        "local",
        "Processes on this machine (local); null means local.",
        choices=("local",),
        not_here={
            "ray": "this release runs on one machine; use scheduler.type=local",
            "slurm": "this release runs on one machine; use scheduler.type=local inside your job script",
        },
    )

    def __post_init__(self) -> None:
        self.type = self.type or "local"
        check_fields(self)


@dataclass
class _DatasetConfig:
    """One dataset and how it is batched."""

    split: str = setting("train", "Split that is read.")
    path: str = setting("", "Folder, file or hub id; may stay empty when the driver builds the dataset itself.")
    type: str = setting(
        "", "Kind of items; filled from the experiment: rl for PPO, sft for SFT.", choices=("", "rl", "sft")
    )
    batch_size: int = setting(1, "Items of one step.", unit="prompts", ge=1)
    shuffle: bool = setting(True, "Draw a new order for each epoch, from the seed.")
    drop_last: bool = setting(True, "Leave out the incomplete batch at the end of an epoch.")
    max_length: int | None = setting(
        None, "Longer prompts (SFT: items) are left out; None keeps all.", unit="tokens", ge=1
    )
    dataset_kwargs: dict[str, Any] = setting(factory=dict, help="Further arguments of the dataset's loader.")

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass
class TrainDatasetConfig(_DatasetConfig):
    """The training data."""


@dataclass
class ValidDatasetConfig(_DatasetConfig):
    """The validation data: in order, every item."""

    split: str = setting("test", "Split that is read.")
    shuffle: bool = setting(False, "Draw a new order for each epoch, from the seed.")
    drop_last: bool = setting(False, "Leave out the incomplete batch at the end of an epoch.")
