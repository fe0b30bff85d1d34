# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The inference side of a run: server processes, the rollout engine that uses them, and the way of the weights to them.

The RL trainer owns one. Servers start while the trainer builds its model; `connect` joins both sides. This is the only place
that knows the supervisor of the processes, the client and the weight sync together.
"""

from __future__ import annotations

import contextlib
import dataclasses
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from areal.api.alloc_mode import ModelAllocation, usable_gpus
from areal.api.cli_args import PPOConfig
from areal.infra.launcher.command import CommandBuilder, ServerCommand, ServerStart, native_server_command
from areal.infra.launcher.supervisor import ServerSupervisor
from areal.infra.remote_inf_engine import EngineServerListener, RemoteInfEngine, RemoteNativeEngine
from areal.infra.weight_sync import DiskWeightSync
from areal.trainer.train_group import TrainGroup
from areal.utils import names, stat_keys


class Inference:
    """Servers, rollout engine and weight sync. Use as a context manager; usable after `connect`."""

    rollout: RemoteInfEngine
    eval_rollout: RemoteInfEngine

    def __init__(self, config: PPOConfig, run_dir: Path) -> None:
        self._config = config
        self._weights_root = names.checkpoint_root(
            config.cluster.fileroot, config.experiment_name, config.trial_name, "weights"
        )
        self._initial = (config.native.model_path, 0)
        self._sync: DiskWeightSync | None = None
        command = native_server_command(config.native, trace_dir=run_dir if config.perf_tracer.enabled else None)
        self._supervisor = ServerSupervisor(
            on_free_gpus(command, config),
            ModelAllocation.from_str(config.rollout.backend).parallel.dp_size,
            latest_weights=self._latest_weights,
            log_dir=run_dir / "servers",
            start_deadline_s=config.rollout.setup_timeout,
        )
        self._addresses: Future[list[str]] | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._supervisor)
        if not self._config.actor.init_from_scratch:
            self._start_servers()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._stack.__exit__(*exc_info)

    def connect(self, group: TrainGroup, version: int) -> None:
        """Wait for the servers, start the rollout engine, and give the servers the actor's weights if they are newer."""
        if self._addresses is None:  # the actor's random weights are the only ones there are
            path = self._weights_root / "initial"
            group.call("save_model", str(path), self._config.tokenizer_path)
            self._initial = (str(path), 0)
            self._start_servers()
        config = self._config.rollout
        self.rollout = RemoteNativeEngine(config, on_server_dead=self._supervisor.restart)
        self._stack.callback(self.rollout.destroy)
        self.rollout.initialize(self._addresses.result())
        self._supervisor.set_listener(EngineServerListener(self.rollout))
        # Evaluation may use every slot of the servers: its problems are many and have few samples each.
        slots = self._config.native.max_num_seqs // self._config.eval_gconfig.n_samples
        wide = max(slots, config.max_concurrent_rollouts or 1)
        self.eval_rollout = self.rollout.eval_view(dataclasses.replace(config, max_concurrent_rollouts=wide))
        self._sync = DiskWeightSync(
            lambda path: group.call("export_weights", path), self.rollout, self._weights_root, initial=self._initial
        )
        if version > 0:
            self._sync.push(version)
            self.rollout.executor.staleness_manager.on_version_recovered(version)

    def publish(self, version: int) -> dict[str, float]:
        """Make the actor's weights `version` on all servers; returns the *weights* invariant and timings (s)."""
        self._supervisor.check()
        report = self._sync.push(version)
        return {"weights/write_s": report.write_s, "weights/load_s": report.load_s}

    def export_stats(self) -> dict[str, float]:
        """Statistics of the rollouts since the last export, with the *weights* invariant and the servers' memory."""
        row = self.rollout.export_stats()
        mismatches = row.pop("rollout/checksum_mismatches")
        row[stat_keys.INVARIANT_MEASURES["weights"]] = float(mismatches)
        row[stat_keys.invariant_ok("weights")] = float(mismatches == 0)
        row[stat_keys.rss_key("servers")] = self._supervisor.rss_bytes()
        return row

    def _start_servers(self) -> None:
        starter = self._stack.enter_context(ThreadPoolExecutor(1, "server-start"))
        self._stack.callback(self._supervisor.close)  # first: whoever leaves early does not wait for servers to come up
        self._addresses = starter.submit(self._supervisor.start)

    def _latest_weights(self) -> tuple[str, int]:
        return self._sync.latest() if self._sync is not None else self._initial


def on_free_gpus(build: CommandBuilder, config: PPOConfig) -> CommandBuilder:
    """`build` with a GPU for each server, after those of the trainer's ranks; they share where there are too few."""
    num_gpus = usable_gpus(config.cluster)
    if num_gpus == 0:
        return build
    num_ranks = ModelAllocation.from_str(config.actor.backend).world_size

    def build_with_gpu(start: ServerStart) -> ServerCommand:
        command = build(start)
        gpu = (num_ranks + start.index) % num_gpus
        return dataclasses.replace(command, env={**command.env, "CUDA_VISIBLE_DEVICES": str(gpu)})

    return build_with_gpu
