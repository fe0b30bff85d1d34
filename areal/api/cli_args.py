# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Every configuration class and the functions that load and save configurations.

The public import path of what lives in `areal.api.config`. Imports without torch, hydra or omegaconf.
"""

from areal.api.config.algorithm import NormConfig, PPOActorConfig, RejectionSamplingConfig
from areal.api.config.engine import FSDPEngineConfig, MicroBatchSpec, OptimizerConfig, TrainEngineConfig
from areal.api.config.experiment import BaseExperimentConfig, GRPOConfig, PPOConfig, SFTConfig
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
    TensorBoardConfig,
    TrackioConfig,
    TrainDatasetConfig,
    ValidDatasetConfig,
    WandBConfig,
    _DatasetConfig,
    _Timer,
)

__all__ = [
    "BaseExperimentConfig",
    "ClusterSpecConfig",
    "EvaluatorConfig",
    "FSDPEngineConfig",
    "GRPOConfig",
    "GenerationHyperparameters",
    "InferenceEngineConfig",
    "MicroBatchSpec",
    "NativeConfig",
    "NormConfig",
    "OptimizerConfig",
    "PPOActorConfig",
    "PPOConfig",
    "PerfTracerConfig",
    "RecoverConfig",
    "RejectionSamplingConfig",
    "SFTConfig",
    "SaverConfig",
    "SchedulerConfig",
    "StatsLoggerConfig",
    "TensorBoardConfig",
    "TrackioConfig",
    "TrainDatasetConfig",
    "TrainEngineConfig",
    "ValidDatasetConfig",
    "WandBConfig",
    "_DatasetConfig",
    "_Timer",
]
