# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The inference servers in use: which one gets a request, and what happens to its requests when it is lost.

Requests with the same affinity key (the samples of a group, the segments of a generation) go to the same server, which
holds their prefix; a new key goes to the server with the fewest outstanding tokens. All methods run on one event loop.
It must never talk to a server itself: the fleet finds out who lives.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any, TypeVar

from areal.utils.errors import DeadlineExceeded, ServerDead

T = TypeVar("T")

MAX_HOMES = 1 << 16
"""Affinity keys remembered, least recently used dropped first: more than episodes in flight at any scale, about 10 MB."""


class Server:
    """One server and the calls it is answering."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.outstanding_tokens = 0
        self.num_strikes = 0  # failed probes in a row
        self.is_alive = True
        self.cause_of_death = ""
        self._calls: set[asyncio.Task[Any]] = set()

    async def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Await `call`, or raise `ServerDead` as soon as the server is lost."""
        task = asyncio.ensure_future(call)
        self._calls.add(task)
        try:
            await asyncio.wait({task})
        finally:
            self._calls.discard(task)
            task.cancel()  # does nothing unless the caller itself was cancelled
        if task.cancelled():
            raise ServerDead(f"the server at {self.address} was lost while it answered: {self.cause_of_death}")
        return task.result()

    def kill(self, cause: str) -> None:
        """Mark as lost and end the calls in flight."""
        self.is_alive = False
        self.cause_of_death = cause
        for task in self._calls:
            task.cancel()


class ServerPool:
    """Routes requests to living servers."""

    def __init__(self) -> None:
        self._servers: dict[str, Server] = {}
        self._homes: OrderedDict[str, Server] = OrderedDict()
        self._has_alive = asyncio.Event()
        self.num_lost = 0

    def alive(self) -> list[Server]:
        """The servers in use."""
        return [server for server in self._servers.values() if server.is_alive]

    def dead(self) -> list[Server]:
        """The servers that were lost and may come back."""
        return [server for server in self._servers.values() if not server.is_alive]

    def admit(self, address: str) -> Server:
        """Use the server at `address` from now on, as one without history."""
        server = self._servers[address] = Server(address)
        self._has_alive.set()
        return server

    def lose(self, server: Server, cause: str) -> bool:
        """Stop using a server; False when it was lost already."""
        if not server.is_alive:
            return False
        self.num_lost += 1
        server.kill(cause)
        if not self.alive():
            self._has_alive.clear()
        return True

    def remove(self, address: str, cause: str) -> None:
        """Forget a server for good."""
        server = self._servers.get(address)
        if server is not None:
            self.lose(server, cause)
            del self._servers[address]

    async def acquire(self, key: str, num_tokens: int, timeout_s: float) -> Server:
        """The server for a request of about `num_tokens`; `release` it with the same number.

        Waits for a server while none lives; `DeadlineExceeded` after `timeout_s`.
        """
        while not (alive := self.alive()):
            causes = (
                "; ".join(f"{server.address}: {server.cause_of_death}" for server in self.dead()) or "none was added"
            )
            try:
                async with asyncio.timeout(timeout_s):
                    await self._has_alive.wait()
            except TimeoutError as error:
                raise DeadlineExceeded(
                    f"a request waits for an inference server, but none lives for {timeout_s:g} s ({causes})"
                ) from error
        server = self._homes.get(key)
        if server is None or not server.is_alive:
            server = min(alive, key=lambda candidate: candidate.outstanding_tokens)
            self._homes[key] = server
            if len(self._homes) > MAX_HOMES:
                self._homes.popitem(last=False)
        self._homes.move_to_end(key)
        server.outstanding_tokens += num_tokens
        return server

    def release(self, server: Server, num_tokens: int) -> None:
        """The request is answered, or failed."""
        server.outstanding_tokens -= num_tokens
