# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""All inference servers of a run as one: liveness, freeze and thaw, and the two-phase weight update.

    update: freeze all ─> load all ─> set the version ─> thaw those that loaded

A server that fails a step is lost: its requests continue elsewhere, `on_server_dead` tells the supervisor, and it comes back
only with the current weights, also if it was the last one. So servers in use are all on version v or all on v + 1. When
every server refuses the new weights, all stay on v and the update fails. Runs on the rollout loop; owned by the engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from areal.api.engine_api import RemoteInfBackendProtocol
from areal.api.io_struct import HttpRequest, WeightUpdateMeta
from areal.engine.inf_client import InferenceClient
from areal.engine.server_pool import Server, ServerPool
from areal.utils.errors import ConfigError, DeadlineExceeded, InfraError
from areal.utils.logging import getLogger

logger = getLogger("rollout")

PROBE_EVERY_S = 5.0
"""Interval of liveness probes, of servers in use and of lost ones."""
PROBE_TIMEOUT_S = 10.0
MAX_STRIKES = 3
"""Probes without an answer in a row that lose a server: a loaded CPU may answer one late, a dead one answers none."""
START_POLL_S = 0.2

OnServerDead = Callable[[str, str], None]
"""`on_server_dead(address, cause)`; called on the rollout loop, so it must not block."""


class ServerFleet:
    """The servers in use and their common state (weights, frozen or not)."""

    def __init__(
        self,
        client: InferenceClient,
        backend: RemoteInfBackendProtocol,
        set_version: Callable[[int], None],
        setup_timeout_s: float,
    ) -> None:
        self.client = client
        self.backend = backend
        self.pool = ServerPool()
        self.on_server_dead: OnServerDead | None = None
        self.freeze_s = 0.0  # of the last update
        self.num_checksum_mismatches = 0
        self._set_version = set_version
        self._setup_timeout_s = setup_timeout_s
        self._weights: WeightUpdateMeta | None = None
        self._frozen_mode: str | None = None
        self._lock = asyncio.Lock()  # one change of the common state at a time
        self._watcher = asyncio.get_running_loop().create_task(self._watch())
        self._watcher.add_done_callback(_report_crash)

    async def start(self, addresses: list[str]) -> None:
        """Wait until every server is healthy and use them all."""
        if not addresses:
            raise ConfigError("expected at least one inference server address, got none")
        await asyncio.gather(*(self.add(address) for address in addresses))

    async def close(self) -> None:
        """Stop probing and close the connections."""
        self._watcher.cancel()
        await asyncio.wait({self._watcher})
        await self.client.close()

    async def add(self, address: str) -> None:
        """Use the server at `address` once it is healthy and has the current weights; `InfraError` when that fails."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._setup_timeout_s
        while not await self.is_healthy(address):
            if loop.time() >= deadline_s:
                raise DeadlineExceeded(
                    f"the client waits for the server at {address} to be healthy, gave up after {self._setup_timeout_s:g} s; "
                    "see the server's log"
                )
            await asyncio.sleep(START_POLL_S)
        async with self._lock:
            try:
                await self._bring_up_to_date(address)
            except ConfigError as error:
                raise InfraError(f"the server at {address} refuses the current weights: {error}") from error
            self.pool.admit(address)

    def remove(self, address: str, cause: str) -> None:
        """Forget a server; what it was generating continues elsewhere."""
        self.pool.remove(address, cause)

    async def is_healthy(self, address: str) -> bool:
        """Whether the server answers its health probe."""
        try:
            await self.client.call(address, self.backend.health_request(), PROBE_TIMEOUT_S, max_attempts=1)
        except (InfraError, ConfigError):
            return False
        return True

    def lose(self, server: Server, cause: str) -> None:
        """Stop using a server and tell the supervisor."""
        if not self.pool.lose(server, cause):
            return
        logger.error("the server at %s is lost, %d left: %s", server.address, len(self.pool.alive()), cause)
        if self.on_server_dead is not None:
            self.on_server_dead(server.address, cause)

    async def pause(self, mode: str) -> None:
        """Freeze (`keep`) or abort generation on all servers until `resume`."""
        async with self._lock:
            self._frozen_mode = mode
            await self._on_all(self.backend.pause_request(mode))

    async def resume(self) -> None:
        """Thaw all servers."""
        async with self._lock:
            self._frozen_mode = None
            await self._on_all(self.backend.resume_request())

    async def update_weights(self, meta: WeightUpdateMeta) -> None:
        """Bring all servers to `meta.version`; lost ones get it when they come back. `ConfigError` (nothing changed) when all refuse."""
        async with self._lock:
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            try:
                await self._on_all(self.backend.pause_request("keep"))
                await self._load_all(meta)
                self._set_version(meta.version)
            finally:
                if self._frozen_mode is None:
                    await self._on_all(self.backend.resume_request())
                self.freeze_s = loop.time() - began_s

    async def _load_all(self, meta: WeightUpdateMeta) -> None:
        servers = self.pool.alive()
        results = await asyncio.gather(
            *(self._load(server.address, meta) for server in servers), return_exceptions=True
        )
        failures = [(server, error) for server, error in zip(servers, results) if error is not None]
        refusals = [error for _, error in failures if isinstance(error, ConfigError)]
        if refusals and len(refusals) == len(servers):
            raise refusals[0]
        for server, error in failures:
            if not isinstance(error, (InfraError, ConfigError)):
                raise error
            self.lose(server, f"it did not take version {meta.version}: {error}")
        if len(failures) == len(servers):
            logger.warning("no server lives; the next one to come takes version %d from %s", meta.version, meta.path)
        self._weights = meta

    async def _load(self, address: str, meta: WeightUpdateMeta) -> None:
        for request in self.backend.build_load_weights_requests(meta):
            checksum = self.backend.parse_checksum(await self.client.call(address, request))
            if meta.checksum is not None and checksum is not None and checksum != meta.checksum:
                self.num_checksum_mismatches += 1
                raise InfraError(
                    f"the weights of the server at {address} differ from those written to {meta.path}: "
                    f"expected checksum {meta.checksum}, got {checksum}"
                )

    async def _bring_up_to_date(self, address: str) -> None:
        if self._weights is not None:
            await self._load(address, self._weights)
        mode = self._frozen_mode
        request = self.backend.resume_request() if mode is None else self.backend.pause_request(mode)
        await self.client.call(address, request)  # a lost server may have been left frozen

    async def _on_all(self, request: HttpRequest) -> None:
        servers = self.pool.alive()
        calls = [self.client.call(server.address, request) for server in servers]
        for server, result in zip(servers, await asyncio.gather(*calls, return_exceptions=True)):
            if isinstance(result, (InfraError, ConfigError)):
                self.lose(server, str(result))
            elif isinstance(result, BaseException):
                raise result

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(PROBE_EVERY_S)
            servers = self.pool.alive() + self.pool.dead()
            await asyncio.gather(*(self._probe(server) for server in servers))

    async def _probe(self, server: Server) -> None:
        is_healthy = await self.is_healthy(server.address)
        if server.is_alive:
            server.num_strikes = 0 if is_healthy else server.num_strikes + 1
            if server.num_strikes >= MAX_STRIKES:
                self.lose(server, f"{MAX_STRIKES} health probes in a row had no answer")
        elif is_healthy:
            async with self._lock:
                if server not in self.pool.dead():
                    return  # removed or replaced meanwhile
                try:
                    await self._bring_up_to_date(server.address)
                except (InfraError, ConfigError) as error:
                    logger.warning("the lost server at %s answers but cannot be used: %s", server.address, error)
                    return
                self.pool.admit(server.address)
            logger.info("the server at %s is back", server.address)


def _report_crash(watcher: asyncio.Task[Any]) -> None:
    if not watcher.cancelled() and (error := watcher.exception()) is not None:
        logger.error("liveness probes ended", exc_info=error)
