# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Inference-server processes: starting them, knowing when they are ready, restarting them when they die."""

from areal.utils.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "CommandBuilder": "areal.infra.launcher.command",
        "ServerCommand": "areal.infra.launcher.command",
        "ServerListener": "areal.infra.launcher.supervisor",
        "ServerProcess": "areal.infra.launcher.server_process",
        "ServerStart": "areal.infra.launcher.command",
        "ServerSupervisor": "areal.infra.launcher.supervisor",
        "native_server_command": "areal.infra.launcher.command",
    },
)
