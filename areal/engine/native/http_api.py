# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The endpoints of the native server: JSON in and out over the engine's thread-safe face.

Every mistake of a client is answered 4xx with `{"error", "expected", "got", "hint"}`; a dead engine is 503. A client that
disconnects frees its slot. Never touches the scheduler or the model.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from areal.engine.native.engine import EngineStatus, NativeEngine
from areal.engine.native.messages import Generation, RequestError
from areal.engine.native.request_parser import parse_abort, parse_generate, parse_load_weights, parse_pause
from areal.utils.errors import ArealError, CheckpointError, InfraError

MAX_BODY_BYTES = 64 * 2**20
"""A prompt of a million tokens fits; larger bodies are answered 413."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpApi:
    """Routes over one engine."""

    def __init__(self, engine: NativeEngine) -> None:
        self._engine = engine

    def application(self) -> web.Application:
        """The aiohttp application; run it with `handler_cancellation=True`, or a disconnect is not noticed."""
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_errors_as_json])
        app.add_routes(
            [
                web.post("/generate", self._generate),
                web.post("/pause", self._pause),
                web.post("/resume", self._resume),
                web.post("/load_weights", self._load_weights),
                web.post("/abort", self._abort),
                web.get("/health", self._health),
                web.get("/info", self._info),
                web.get("/metrics", self._metrics),
            ]
        )
        return app

    async def _generate(self, request: web.Request) -> web.Response:
        parsed = parse_generate(await _body(request), vocab_size=self._engine.info.vocab_size)
        future = self._engine.submit(parsed)
        try:
            generation = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._engine.cancel(future)
            raise
        return web.json_response(_generation_json(generation))

    async def _pause(self, request: web.Request) -> web.Response:
        mode = parse_pause(await _body(request))
        return web.json_response(_status_json(await asyncio.wrap_future(self._engine.pause(mode))))

    async def _resume(self, request: web.Request) -> web.Response:
        return web.json_response(_status_json(await asyncio.wrap_future(self._engine.resume())))

    async def _load_weights(self, request: web.Request) -> web.Response:
        path, version = parse_load_weights(await _body(request))
        status = await asyncio.to_thread(self._engine.load_weights, path, version)
        return web.json_response({"version": status.version, "checksum": status.checksum})

    async def _abort(self, request: web.Request) -> web.Response:
        request_ids = parse_abort(await _body(request))
        return web.json_response({"aborted": await asyncio.wrap_future(self._engine.abort(request_ids))})

    async def _health(self, request: web.Request) -> web.Response:
        is_alive = self._engine.is_alive()
        body = {"status": "ok" if is_alive else "dead", **_status_json(self._engine.status())}
        return web.json_response(body, status=200 if is_alive else 503)

    async def _info(self, request: web.Request) -> web.Response:
        options = self._engine.options
        body = {
            **dataclasses.asdict(self._engine.info),
            "max_model_len": options.max_model_len,
            "max_num_seqs": options.max_num_seqs,
            "max_waiting": options.max_waiting,
            "version": self._engine.status().version,
            "checksum": self._engine.status().checksum,
        }
        # A config may hold values JSON has no word for (dtypes); their text is enough here.
        return web.json_response(body, dumps=lambda value: json.dumps(value, default=str))

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=self._engine.metrics(), headers={"Content-Type": "text/plain; version=0.0.4"})


async def _body(request: web.Request) -> object:
    """The JSON body; an empty one counts as `{}`."""
    raw = await request.read()
    if not raw:
        return {}
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:  # ValueError covers bad JSON and bad UTF-8
        raise RequestError(
            "bad body",
            expected="JSON",
            got=str(error)[:200],
            hint="send a JSON object with content-type application/json",
        ) from error


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RequestError as error:
        body = {"error": error.error, "expected": error.expected, "got": error.got, "hint": error.hint}
        return web.json_response(body, status=error.status)
    except CheckpointError as error:
        return _error("bad checkpoint", error, "a complete checkpoint of the served model", "export it again", 409)
    except InfraError as error:
        return _error("engine failure", error, "a working engine", "restart the server or load other weights", 503)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        body = {
            "error": error.reason,
            "expected": "a known path and method",
            "got": request.path,
            "hint": error.text or "",
        }
        return web.json_response(body, status=error.status)


def _error(what: str, error: ArealError, expected: str, hint: str, status: int) -> web.Response:
    return web.json_response({"error": what, "expected": expected, "got": str(error), "hint": hint}, status=status)


def _generation_json(generation: Generation) -> dict[str, object]:
    return {
        "request_id": generation.request_id,
        "output_ids": generation.output_ids,
        "output_logprobs": generation.output_logprobs,
        "version_spans": [dataclasses.asdict(span) for span in generation.version_spans],
        "finish_reason": generation.finish_reason.value,
    }


def _status_json(status: EngineStatus) -> dict[str, object]:
    return {"version": status.version, "paused": status.paused}
