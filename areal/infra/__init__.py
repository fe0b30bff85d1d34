# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Run time: rollout executor and its staleness account, worker groups, inference-server processes, weight sync."""

from areal.utils.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "RemoteInfEngine": "areal.infra.remote_inf_engine",
        "RemoteNativeEngine": "areal.infra.remote_inf_engine",
        "GroupedRolloutWorkflow": "areal.infra.remote_inf_engine",
        "RemoteInfBackendProtocol": "areal.api.engine_api",
        "WorkflowExecutor": "areal.infra.workflow_executor",
        "StalenessManager": "areal.infra.staleness_manager",
        "check_trajectory_format": "areal.utils.data",
        "workflow_context": "areal.utils.workflow_context",
    },
)
