# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The rollout engine: workflows and single generations on a fleet of inference servers, over HTTP.

    caller's threads ──> RemoteInfEngine ──> WorkflowExecutor ──> RolloutCore ──> workflow ─┐   one event loop
                                        └──> ServerFleet <── Generator <──── agenerate <────┘   in one thread

Trainers own one engine and take an `eval_view` of it. The backend says how a kind of server is spoken to. The engine must
never start or stop a server: a supervisor does, and is told of dead ones.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import os
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from areal.api.engine_api import AcceptFn, InferenceEngine, RemoteInfBackendProtocol, SampleStream, Trajectory
from areal.api.io_struct import ModelRequest, ModelResponse, WeightUpdateMeta
from areal.api.reward_api import close_reward_pools
from areal.api.workflow_api import WorkflowLike
from areal.engine.inf_client import InferenceClient
from areal.engine.native_remote import NativeBackend
from areal.infra.generation import Generator, affinity_key, new_token_budget, request_seed
from areal.infra.loop_thread import LoopThread
from areal.infra.server_fleet import OnServerDead, ServerFleet
from areal.infra.workflow_executor import DumpFn, WorkflowExecutor
from areal.infra.workflow_resolution import GroupedRolloutWorkflow as GroupedRolloutWorkflow
from areal.utils import stats_tracker
from areal.utils.errors import ConfigError, InfraError

if TYPE_CHECKING:
    from areal.api.cli_args import InferenceEngineConfig

ADDRESSES_VARIABLE = "AREAL_LLM_SERVER_ADDRS"
"""Comma-separated server addresses, for engines that are initialized without any."""


class _Shared:
    """What an engine and its evaluation views have in common."""

    def __init__(self) -> None:
        self.loop = LoopThread("areal-rollout")
        self.executors: list[WorkflowExecutor] = []
        self.version = 0
        self.fleet: ServerFleet
        self.generator: Generator

    async def connect(self, config: InferenceEngineConfig, backend: RemoteInfBackendProtocol) -> None:
        client = InferenceClient(config.request_timeout, config.request_retries)
        self.fleet = ServerFleet(client, backend, self.set_version, config.setup_timeout)
        self.generator = Generator(self.fleet, config.request_timeout, config.setup_timeout, config.request_retries)

    def set_version(self, version: int) -> None:
        self.version = version
        for executor in self.executors:
            executor.on_version_changed()


class RemoteInfEngine(InferenceEngine):
    """An `InferenceEngine` over HTTP; `initialize` before use, `destroy` after.

    `dump(trajectory, task_id, is_eval)` sees every accepted trajectory, `on_server_dead(address, cause)` every lost server.
    `executor.wait_reason()` says what a waiting caller waits for.
    """

    def __init__(
        self,
        config: InferenceEngineConfig,
        backend: RemoteInfBackendProtocol,
        *,
        dump: DumpFn | None = None,
        on_server_dead: OnServerDead | None = None,
        _shared: _Shared | None = None,
    ) -> None:
        self.config = config
        self._backend = backend
        self._dump = dump
        self._on_server_dead = on_server_dead
        self._is_view = _shared is not None
        self._shared = _shared or _Shared()
        self.executor = WorkflowExecutor(
            config, self, loop_thread=self._shared.loop, is_eval=self._is_view, dump=self._dump
        )

    def initialize(self, addr: str | Sequence[str] | None = None) -> None:
        """Connect to the servers at `addr` (default: `AREAL_LLM_SERVER_ADDRS`) and wait until all are healthy.

        `ConfigError` without addresses, `InfraError` when a server is not healthy within `setup_timeout`.
        """
        if addr is None:
            addr = [part for part in os.environ.get(ADDRESSES_VARIABLE, "").split(",") if part]
            if not addr:
                raise ConfigError(f"expected server addresses as an argument or in {ADDRESSES_VARIABLE}, got none")
        addresses = [addr] if isinstance(addr, str) else list(addr)
        shared = self._shared
        shared.loop.start()
        shared.loop.run(shared.connect(self.config, self._backend))
        shared.fleet.on_server_dead = self._on_server_dead
        self.executor.initialize()
        shared.executors.append(self.executor)
        is_up = False
        try:
            shared.loop.run(shared.fleet.start(addresses))
            is_up = True
        finally:
            if not is_up:
                self.destroy()

    def destroy(self) -> None:
        """Cancel everything that runs; an engine that is no view also ends its views, connections and thread. Idempotent."""
        shared = self._shared
        for executor in [self.executor] if self._is_view else list(shared.executors):
            if executor in shared.executors:
                shared.executors.remove(executor)
                executor.destroy()
        if not self._is_view and shared.loop.is_alive():
            shared.loop.run(shared.fleet.close())
            shared.loop.run(close_reward_pools())
            shared.loop.stop()

    def eval_view(self, config: InferenceEngineConfig | None = None) -> RemoteInfEngine:
        """A second engine on the same servers, version and thread, with an account of its own and no staleness bound."""
        view = RemoteInfEngine(config or self.config, self._backend, dump=self._dump, _shared=self._shared)
        view.executor.initialize()
        self._shared.executors.append(view.executor)
        return view

    async def agenerate(self, req: ModelRequest) -> ModelResponse:
        """Generate one completion; every token carries the version that made it.

        `ValueError` for `n_samples` other than 1 or no room for a token, `ConfigError` when the server refuses the request,
        `InfraError` when no server answers in time. A server that dies meanwhile is replaced by another.
        """
        budget = new_token_budget(req)
        gconfig = copy.copy(req.gconfig)
        gconfig.seed = request_seed(req, self.config.deterministic_sampling)
        generation = self._shared.generator.generate(
            dataclasses.replace(req, gconfig=gconfig), budget, affinity_key(req)
        )
        if self._shared.loop.is_current():
            return await generation
        return await asyncio.wrap_future(self._shared.loop.submit(generation))

    def submit(
        self,
        data: dict[str, Any],
        workflow: WorkflowLike,
        workflow_kwargs: dict[str, Any] | None = None,
        should_accept_fn: AcceptFn | str | None = None,
        group_size: int = 1,
        task_id: int | None = None,
        drop_incomplete_group: bool = False,
    ) -> int:
        """Enqueue one item and return its task id; see `WorkflowExecutor.submit`."""
        return self.executor.submit(
            data, workflow, workflow_kwargs, should_accept_fn, group_size, task_id, drop_incomplete_group
        )

    def wait(self, count: int, timeout: float | None = None, raise_timeout: bool = True) -> list[Trajectory | None]:
        """The oldest `count` finished tasks; see `WorkflowExecutor.wait`."""
        return self.executor.wait(count, timeout, raise_timeout)

    def wait_for_task(
        self, task_id: int, timeout: float | None = None, raise_timeout: bool = True
    ) -> Trajectory | None:
        """The result of one task; see `WorkflowExecutor.wait_for_task`."""
        return self.executor.wait_for_task(task_id, timeout, raise_timeout)

    def rollout_batch(
        self,
        data: list[dict[str, Any]],
        workflow: WorkflowLike,
        workflow_kwargs: dict[str, Any] | None = None,
        group_size: int = 1,
        should_accept_fn: AcceptFn | str | None = None,
        drop_incomplete_group: bool = False,
    ) -> list[Trajectory]:
        """Run all items to their end and return the accepted trajectories in the order of `data`."""
        return self.executor.rollout_batch(
            data, workflow, workflow_kwargs, should_accept_fn, group_size, drop_incomplete_group
        )

    def prepare_batch(
        self,
        dataloader: SampleStream,
        workflow: WorkflowLike,
        workflow_kwargs: dict[str, Any] | None = None,
        should_accept_fn: AcceptFn | str | None = None,
        group_size: int = 1,
        dynamic_bs: bool = False,
        drop_incomplete_group: bool = False,
    ) -> list[Trajectory]:
        """The next training batch; see `WorkflowExecutor.prepare_batch`."""
        return self.executor.prepare_batch(
            dataloader, workflow, workflow_kwargs, should_accept_fn, group_size, dynamic_bs, drop_incomplete_group
        )

    def pause(self) -> None:
        """Start no more tasks; running ones go on and are harvested."""
        self.executor.pause()

    def resume(self) -> None:
        """Undo `pause`."""
        self.executor.resume()

    def pause_generation(self, mode: str = "keep") -> None:
        """Freeze the servers: `keep` holds live sequences, `abort` returns them unfinished (the engine continues them)."""
        self._shared.loop.run(self._shared.fleet.pause(mode))

    def continue_generation(self) -> None:
        """Undo `pause_generation`."""
        self._shared.loop.run(self._shared.fleet.resume())

    def update_weights_from_disk(self, meta: WeightUpdateMeta) -> Future[None]:
        """Freeze every server, load `meta.path`, set the version, thaw; see `ServerFleet.update_weights`."""
        return self._shared.loop.submit(self._shared.fleet.update_weights(meta))

    def set_version(self, version: int) -> None:
        """Set the policy version, also of all views; tasks that it gives room to start at once."""
        self._shared.set_version(version)

    def get_version(self) -> int:
        """Version of the policy that generates."""
        return self._shared.version

    def add_server(self, address: str) -> None:
        """Use one more server, once it is healthy and has the current weights; `InfraError` when it does not get there."""
        self._shared.loop.run(self._shared.fleet.add(address))

    def remove_server(self, address: str, cause: str = "removed") -> None:
        """Stop using a server; its unfinished requests continue on others."""
        self._shared.loop.call(self._shared.fleet.remove, address, cause)

    def export_stats(self) -> dict[str, float]:
        """Statistics of rollouts and servers since the last export, with what workflows recorded; flat names."""
        own = self.executor.export_stats()
        if self._is_view:
            return {f"eval-{key}": value for key, value in own.items()} | stats_tracker.get("eval-rollout").export()
        fleet, generator = self._shared.fleet, self._shared.generator
        row = own | stats_tracker.get("rollout").export()
        return row | {
            "rollout/servers_alive": len(fleet.pool.alive()),
            "rollout/servers_lost": fleet.pool.num_lost,
            "rollout/http_retries": fleet.client.num_retries,
            "rollout/continued_generations": generator.num_continued,
            "rollout/freeze_s": fleet.freeze_s,
            "rollout/checksum_mismatches": fleet.num_checksum_mismatches,
        }


class EngineServerListener:
    """Keeps an engine's servers in step with a `ServerSupervisor`: give it as the supervisor's listener."""

    def __init__(self, engine: RemoteInfEngine) -> None:
        self._engine = engine

    def lost(self, address: str, cause: str) -> None:
        """Hand the requests of a server that ended to the others."""
        self._engine.remove_server(address, cause)

    def restored(self, old_address: str, new_address: str, version: int) -> None:
        """Use a restarted server once it has the current weights; `InfraError` when it does not take them."""
        self._engine.add_server(new_address)

    def given_up(self, failure: InfraError) -> None:
        """Fail whoever waits for rollouts, also of views, at once instead of at the deadline of a request."""
        for executor in self._engine._shared.executors:
            executor.fail(failure)


class RemoteNativeEngine(RemoteInfEngine):
    """A rollout engine on `native` servers."""

    def __init__(
        self, config: InferenceEngineConfig, *, dump: DumpFn | None = None, on_server_dead: OnServerDead | None = None
    ) -> None:
        super().__init__(config, NativeBackend(), dump=dump, on_server_dead=on_server_dead)
