# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Contracts: configuration, backend strings, request and response types, engine, workflow and reward interfaces."""

from areal.utils.lazy import attach

_ENGINE = "areal.api.engine_api"
_IO = "areal.api.io_struct"
_ALLOC = "areal.api.alloc_mode"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "TrainEngine": _ENGINE,
        "InferenceEngine": _ENGINE,
        "RemoteInfBackendProtocol": _ENGINE,
        "ModelAllocation": _ALLOC,
        "ParallelStrategy": _ALLOC,
        "FSDPParallelStrategy": _ALLOC,
        "MegatronParallelStrategy": _ALLOC,
        "ModelRequest": _IO,
        "ModelResponse": _IO,
        "Outcome": _IO,
        "WeightUpdateMeta": _IO,
        "SaveLoadMeta": _IO,
        "StepInfo": _IO,
        "FinetuneSpec": _IO,
        "ParamSpec": _IO,
        "RolloutStat": _IO,
        "RolloutWorkflow": "areal.api.workflow_api",
        "WorkflowLike": "areal.api.workflow_api",
        "AsyncRewardWrapper": "areal.api.reward_api",
    },
)
