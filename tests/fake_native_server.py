# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A server that speaks the protocol of `native` without a model, and fails on command.

The token at position i of a generation is a function of (seed, i) alone, so a test can tell whether a continuation drew the
same random numbers. It runs on a loop in a thread of its own; `die` breaks every connection, as a killed process does.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from aiohttp import web


def expected_tokens(seed: int, count: int) -> list[int]:
    """What a full generation with this seed yields."""
    return [(seed * 31 + position * position + 7) % 97 for position in range(count)]


class FakeNativeServer:
    def __init__(self, token_s: float = 0.0, version: int = 0, stop_at: int | None = None) -> None:
        self.token_s = token_s
        self.version = version
        self.stop_at = stop_at  # generations end with "stop" after so many tokens
        self.requests: list[dict[str, Any]] = []  # bodies of /generate
        self.calls: list[str] = []  # control calls in order, e.g. "pause:keep"
        self.statuses: dict[str, list[int]] = {}  # path -> statuses to answer next instead of working
        self.drop_next = 0  # so many /generate calls lose their connection without an answer
        self.is_ready = True
        self.refuse_weights = ""
        self.checksum = "c0"
        self._aborts = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._started = threading.Event()
        self._thread.start()
        assert self._started.wait(10)

    def die(self) -> None:
        """Vanish: the port refuses, connections in flight are reset."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)

    def close(self) -> None:
        if self._thread.is_alive():
            self.die()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    def abort_all(self) -> None:
        self._loop.call_soon_threadsafe(self._abort_now)

    def _run(self) -> None:
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._started.set()
        self._loop.run_forever()

    async def _start(self) -> None:
        self._thawed = asyncio.Event()
        self._thawed.set()
        app = web.Application()
        app.add_routes(
            [
                web.post("/generate", self._generate),
                web.post("/pause", self._pause),
                web.post("/resume", self._resume),
                web.post("/load_weights", self._load),
                web.get("/health", self._health),
            ]
        )
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.address = f"127.0.0.1:{self.port}"

    async def _stop(self) -> None:
        for connection in self._runner.server.connections if self._runner.server else []:
            if connection.transport is not None:
                connection.transport.abort()
        await self._runner.cleanup()

    def _abort_now(self) -> None:
        self._aborts += 1

    def _scripted(self, path: str) -> web.Response | None:
        statuses = self.statuses.get(path, [])
        if not statuses:
            return None
        response = web.json_response({"error": "scripted", "hint": "none"}, status=statuses.pop(0))
        response.force_close()
        return response

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        if self.drop_next:
            self.drop_next -= 1
            assert request.transport is not None
            request.transport.abort()
        if (response := self._scripted("/generate")) is not None:
            return response
        params = body["sampling_params"]
        offset, count = params["rng_offset"], params["max_new_tokens"]
        all_tokens = expected_tokens(params["seed"], offset + count)
        end = offset + count if self.stop_at is None else min(offset + count, self.stop_at)
        versions: list[int] = []
        aborts, reason = self._aborts, "length" if self.stop_at is None or self.stop_at > offset + count else "stop"
        for _ in range(offset, end):
            await asyncio.sleep(self.token_s)
            if self._aborts == aborts:
                await self._thawed.wait()
            if self._aborts != aborts:
                reason = "abort"
                break
            versions.append(self.version)
        tokens = all_tokens[offset : offset + len(versions)]
        spans: list[dict[str, int]] = []
        for position, version in enumerate(versions):
            if not spans or spans[-1]["version"] != version:
                spans.append({"version": version, "start": position, "end": position})
            spans[-1]["end"] = position + 1
        answer = {"request_id": body["request_id"], "output_ids": tokens, "output_logprobs": [-0.25] * len(tokens)}
        return web.json_response({**answer, "version_spans": spans, "finish_reason": reason})

    async def _pause(self, request: web.Request) -> web.Response:
        mode = (await request.json())["mode"]
        self.calls.append(f"pause:{mode}")
        if (response := self._scripted("/pause")) is not None:
            return response
        self._thawed.clear()
        if mode == "abort":
            self._aborts += 1
        return web.json_response({"version": self.version, "paused": True})

    async def _resume(self, request: web.Request) -> web.Response:
        self.calls.append("resume")
        self._thawed.set()
        return web.json_response({"version": self.version, "paused": False})

    async def _load(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.calls.append(f"load:{body['version']}")
        if (response := self._scripted("/load_weights")) is not None:
            return response
        if self.refuse_weights:
            return web.json_response({"error": self.refuse_weights}, status=409)
        self.version = body["version"]
        return web.json_response({"version": self.version, "checksum": self.checksum})

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "version": self.version}, status=200 if self.is_ready else 503)
