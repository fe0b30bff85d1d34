# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""areal: asynchronous reinforcement learning of language models, from a laptop CPU to a cluster."""

from importlib import metadata

from areal.utils.lazy import attach

try:
    __version__ = metadata.version("areal")
except metadata.PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0.dev"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "PPOTrainer": "areal.trainer.rl_trainer",
        "SFTTrainer": "areal.trainer.sft_trainer",
        "RemoteInfEngine": "areal.infra.remote_inf_engine",
        "StalenessManager": "areal.infra.staleness_manager",
        "WorkflowExecutor": "areal.infra.workflow_executor",
        "run_script": "areal.cli.main",
        "workflow_context": "areal.utils.workflow_context",
    },
)
