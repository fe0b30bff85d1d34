# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The configuration of a whole experiment.

A user's driver loads one of these (or a dataclass derived from one) and hands it to a trainer. Construction derives what
need not be asked and refuses contradictions; see `areal.api.config.resolve`. Must never touch the file system.
"""

from __future__ import annotations

from dataclasses import dataclass

from areal.api.config import resolve
from areal.api.config.algorithm import PPOActorConfig
from areal.api.config.engine import TrainEngineConfig
from areal.api.config.fields import check_fields, setting
from areal.api.config.generation import GenerationHyperparameters
from areal.api.config.rollout import InferenceEngineConfig, NativeConfig
from areal.api.config.run import (
    ClusterSpecConfig,
    EvaluatorConfig,
    PerfTracerConfig,
    RecoverConfig,
    SaverConfig,
    SchedulerConfig,
    StatsLoggerConfig,
    TrainDatasetConfig,
    ValidDatasetConfig,
)


@dataclass
class BaseExperimentConfig:
    """What every experiment has."""

    experiment_name: str = setting("", "Required name of the experiment, a part of every output path.")
    trial_name: str = setting("", "Required name of this trial of the experiment.")
    cluster: ClusterSpecConfig = setting(factory=ClusterSpecConfig, help="The machine and the root of its files.")
    seed: int = setting(1, "Seed of data order, initialisation and training.", ge=0)
    total_train_epochs: int = setting(1, "Passes over the training data.", unit="epochs", ge=1)
    total_train_steps: int | None = setting(None, "Stop after this many steps, if sooner.", unit="steps", ge=1)
    tokenizer_path: str = setting("", "Folder or hub id of the tokenizer; empty means actor.path.")
    train_dataset: TrainDatasetConfig = setting(factory=TrainDatasetConfig, help="The training data.")
    valid_dataset: ValidDatasetConfig | None = setting(None, "The validation data; None means no evaluation.")
    saver: SaverConfig = setting(factory=SaverConfig, help="Export of HF checkpoints.")
    evaluator: EvaluatorConfig = setting(factory=EvaluatorConfig, help="Evaluation on the validation data.")
    stats_logger: StatsLoggerConfig = setting(factory=StatsLoggerConfig, help="Where statistics go.")
    perf_tracer: PerfTracerConfig = setting(factory=PerfTracerConfig, help="Timeline of the run.")
    recover: RecoverConfig = setting(factory=RecoverConfig, help="Checkpoints for resuming.")
    scheduler: SchedulerConfig = setting(factory=SchedulerConfig, help="Who starts the workers.")

    def __post_init__(self) -> None:
        check_fields(self)
        resolve.check_names(self)
        resolve.fill_names(self)


@dataclass
class SFTConfig(BaseExperimentConfig):
    """Supervised fine-tuning."""

    actor: TrainEngineConfig = setting(factory=TrainEngineConfig, help="The trained model.")

    def __post_init__(self) -> None:
        super().__post_init__()
        resolve.derive_common(self, dataset_type="sft")
        self.actor.temperature = resolve.same_or_filled("actor.temperature", self.actor.temperature, "SFT", 1.0)


@dataclass
class PPOConfig(BaseExperimentConfig):
    """Reinforcement learning with the PPO family of losses."""

    gconfig: GenerationHyperparameters = setting(
        factory=GenerationHyperparameters, help="Sampling of training episodes."
    )
    eval_gconfig: GenerationHyperparameters | None = setting(None, "Sampling of evaluation; None means as in training.")
    rollout: InferenceEngineConfig = setting(factory=InferenceEngineConfig, help="The rollout client.")
    actor: PPOActorConfig = setting(factory=PPOActorConfig, help="The trained policy and its loss.")
    ref: TrainEngineConfig | None = setting(None, "The frozen reference policy; created when actor.kl_ctl > 0.")
    dynamic_bs: bool = setting(False, "Train on whatever a batch of prompts yields, however many are rejected.")
    native: NativeConfig = setting(factory=NativeConfig, help="The embedded inference server.")

    def __post_init__(self) -> None:
        super().__post_init__()
        resolve.derive_common(self, dataset_type="rl")
        resolve.derive_ppo(self)
        resolve.check_sampling(self)
        resolve.check_lengths(self)


@dataclass
class GRPOConfig(PPOConfig):
    """PPO with group-relative rewards; the same settings as `PPOConfig`."""
