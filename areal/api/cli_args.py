# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Every configuration class and the functions that load and save configurations.

The public import path of what lives in `areal.api.config`. Imports without torch, hydra or omegaconf.
"""

from areal.api.config.algorithm import NormConfig, PPOActorConfig, RejectionSamplingConfig
from areal.api.config.engine import (
    ArchonEngineConfig,
    ArchonFP8Config,
    FSDPEngineConfig,
    MicroBatchSpec,
    OptimizerConfig,
    TrainEngineConfig,
)
from areal.api.config.experiment import BaseExperimentConfig, GRPOConfig, PPOConfig, SFTConfig
from areal.api.config.generation import GenerationHyperparameters
from areal.api.config.load import is_dry_run, load_expr_config, parse_cli_args, to_structured_cfg
from areal.api.config.plan import describe_plan
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
from areal.api.config.save import conf_as_dict, get_py_cmd, save_config

__all__ = [
    "ArchonEngineConfig",
    "ArchonFP8Config",
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
    "conf_as_dict",
    "describe_plan",
    "get_py_cmd",
    "is_dry_run",
    "load_expr_config",
    "parse_cli_args",
    "save_config",
    "to_structured_cfg",
]
