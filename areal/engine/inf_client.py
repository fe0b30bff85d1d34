# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""HTTP calls to inference servers: one keep-alive session, deadlines, retries where they are safe, typed errors.

Used by the rollout engine for generation and control of every kind of server; backends say what to send, this module sends
it. What comes back is a JSON object or one of: `ConfigError` (the server refuses the request), `ServerDead` (no
connection), `DeadlineExceeded`, `InfraError` (anything else). It must never log prompts, nor repeat a call that is not
idempotent once the server may have seen it. All methods run on one event loop.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

from areal.api.io_struct import HttpRequest
from areal.utils.errors import ConfigError, DeadlineExceeded, InfraError, ServerDead

RETRY_FIRST_S = 0.1
"""Delay before the first repetition; doubles each time."""
RETRY_MAX_S = 5.0
BUSY_STATUSES = frozenset({408, 425, 429})
"""Statuses by which a server says "not now": the request had no effect and may be sent again."""
_SHOWN_CHARACTERS = 500  # of a server's error text: enough for its message, not for a prompt it may quote


class Unavailable(InfraError):
    """The server answered that it cannot serve this now; nothing happened, so the call may be repeated."""


def retry_delay_s(num_failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** (num_failures - 1))


class InferenceClient:
    """Sends `HttpRequest`s to server addresses (`host:port` or a URL)."""

    def __init__(self, timeout_s: float, max_attempts: int) -> None:
        self._timeout_s = timeout_s
        self._max_attempts = max_attempts
        self._session: aiohttp.ClientSession | None = None
        self.num_retries = 0

    async def call(
        self, address: str, request: HttpRequest, timeout_s: float | None = None, max_attempts: int | None = None
    ) -> dict[str, Any]:
        """The JSON object that `request` yields, within `timeout_s` [s] over all attempts.

        A GET or idempotent request is repeated after a lost connection or a 5xx, any request after 408, 425 and 429.
        """
        loop = asyncio.get_running_loop()
        attempts = max_attempts or self._max_attempts
        limit_s = timeout_s or self._timeout_s
        deadline_s = loop.time() + limit_s
        is_idempotent = request.idempotent or request.method == "GET"
        for attempt in range(1, attempts + 1):
            remaining_s = deadline_s - loop.time()
            try:
                async with asyncio.timeout(remaining_s):
                    return await self._send(address, request)
            except TimeoutError as error:
                raise DeadlineExceeded(
                    f"the client waits for {request.endpoint} of the server at {address}, gave up after {limit_s:g} s"
                ) from error
            except InfraError as error:
                is_safe = is_idempotent or isinstance(error, Unavailable)
                delay_s = retry_delay_s(attempt)
                if not is_safe or attempt == attempts or loop.time() + delay_s >= deadline_s:
                    raise
            self.num_retries += 1
            await asyncio.sleep(delay_s)
        raise AssertionError("the last attempt returns or raises")

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _send(self, address: str, request: HttpRequest) -> dict[str, Any]:
        url = (address if "://" in address else f"http://{address}").rstrip("/") + request.endpoint
        payload = None if request.method == "GET" else json.dumps(request.payload).encode()
        headers = {"Content-Type": "application/json"}
        try:
            async with self._open().request(request.method, url, data=payload, headers=headers) as response:
                status, body = response.status, await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise ServerDead(f"no answer of {request.endpoint} from the server at {address}: {error!r}") from error
        if status == 200:
            return _parse(body, address, request)
        text = body.decode(errors="replace")[:_SHOWN_CHARACTERS]
        what = f"the server at {address} answered {request.endpoint} with {status}: {text}"
        if status in BUSY_STATUSES:
            raise Unavailable(what)
        if 400 <= status < 500:
            raise ConfigError(what)
        raise InfraError(what)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No connection limit: a request may be held for minutes by design, and the executor bounds how many there are.
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        return self._session


def _parse(body: bytes, address: str, request: HttpRequest) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise InfraError(
            f"{request.endpoint} of {address}: expected a JSON object, got {body[:_SHOWN_CHARACTERS]!r}"
        ) from error
    if not isinstance(value, dict):
        raise InfraError(f"{request.endpoint} of {address}: expected a JSON object, got a {type(value).__name__}")
    return value
