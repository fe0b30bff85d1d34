# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Rollout workflows."""

from areal.utils.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "WORKFLOWS": "areal.workflow.registry",
        "find_workflow": "areal.workflow.registry",
        "RLVRWorkflow": "areal.workflow.rlvr",
    },
)
