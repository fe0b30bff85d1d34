# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""One completion, whatever happens to the servers meanwhile.

Normally one HTTP call: a weight update freezes the server, and the version of each token comes back in the answer. When a
server is lost or returns an unfinished answer (`abort`), the rest is asked for with prompt + partial output, here or on
another server, under the same budget, minimum length and random numbers. Called by the rollout engine on its loop.
"""

from __future__ import annotations

import asyncio
import dataclasses

from areal.api.io_struct import HttpGenerationResult, ModelRequest, ModelResponse
from areal.engine.inf_client import retry_delay_s
from areal.infra.server_fleet import ServerFleet
from areal.utils import workflow_context
from areal.utils.errors import DeadlineExceeded, InfraError
from areal.utils.seeding import derive_deterministic_seed

MAX_EMPTY_ABORTS = 100
"""Aborted answers without a single token that end a generation: 100 weight updates would have to hit its queueing time."""


def new_token_budget(req: ModelRequest) -> int:
    """Tokens the request may generate: min(max_tokens - prompt, max_new_tokens).

    `ValueError` when there is no room for any, or for `n_samples` other than 1 (the executor makes groups).
    """
    gconfig = req.gconfig
    if gconfig.n_samples != 1:
        raise ValueError(f"gconfig.n_samples: expected 1 (groups are made by group_size), got {gconfig.n_samples}")
    budget = min(gconfig.max_tokens - len(req.input_ids), gconfig.max_new_tokens)
    if budget <= 0:
        raise ValueError(
            f"no room to generate: the prompt has {len(req.input_ids)} tokens, max_tokens is {gconfig.max_tokens} and "
            f"max_new_tokens {gconfig.max_new_tokens}; filter long prompts (max_length) or raise max_tokens"
        )
    return budget


def request_seed(req: ModelRequest, is_deterministic: bool) -> int:
    """The seed of a request: of the run's seed, the task, the sample and the prompt where those identify it.

    A fixed `gconfig.seed` gives every sample of a group its own numbers. Evaluation leaves the task id out, so that the same
    prompt draws the same numbers in every evaluation. Without seed and determinism, the request id is the seed.
    """
    context = workflow_context.get()
    seed = req.gconfig.seed
    if context.task_id is None and seed is not None:
        return seed
    if seed is None and not is_deterministic:
        return derive_deterministic_seed(req.rid)
    # The prompt tells the turns of an episode apart.
    prompt = ",".join(map(str, req.input_ids))
    task_id = -1 if context.is_eval or context.task_id is None else context.task_id
    return derive_deterministic_seed(prompt, seed or 0, task_id, context.sample_idx or 0)


def affinity_key(req: ModelRequest) -> str:
    """Requests with this key share a prefix: those of one task, or else the segments of one request."""
    context = workflow_context.get()
    return req.rid if context.task_id is None else f"{'eval' if context.is_eval else 'train'}-{context.task_id}"


class Generator:
    """Runs completions on a fleet; counts how often one had to continue."""

    def __init__(self, fleet: ServerFleet, timeout_s: float, server_timeout_s: float, max_attempts: int) -> None:
        self._fleet = fleet
        self._timeout_s = timeout_s
        self._server_timeout_s = server_timeout_s
        self._max_attempts = max_attempts
        self.num_continued = 0

    async def generate(self, req: ModelRequest, budget: int, key: str) -> ModelResponse:
        """Up to `budget` tokens for a seeded request. `InfraError` when the servers do not manage."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        response = ModelResponse(
            input_tokens=req.input_ids,
            output_tokens=[],
            output_logprobs=[],
            output_versions=[],
            tokenizer=req.tokenizer,
        )
        num_empty = 0
        while True:
            remaining_s = began_s + self._timeout_s - loop.time()
            segment = await self._segment(req, response.output_tokens, budget, key, remaining_s)
            response.output_tokens += segment.output_tokens
            response.output_logprobs += segment.output_logprobs
            response.output_versions += segment.output_versions
            if segment.stop_reason != "abort":
                response.stop_reason = segment.stop_reason
                break
            if response.output_len >= budget:
                response.stop_reason = "length"
                break
            num_empty = 0 if segment.output_tokens else num_empty + 1
            if num_empty > MAX_EMPTY_ABORTS:
                raise InfraError(f"{num_empty} answers in a row were aborted without a token; see the server's log")
            self.num_continued += 1
        response.latency = response.ttft = loop.time() - began_s
        return response

    async def _segment(
        self, req: ModelRequest, done: list[int], budget: int, key: str, timeout_s: float
    ) -> HttpGenerationResult:
        """The answer of the first server that gives one; a lost server passes the request on."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        rest = dataclasses.replace(req, input_ids=req.input_ids + done)
        max_new = budget - len(done)
        request = self._fleet.backend.build_generation_request(rest, max_new, len(done))
        num_tokens = len(rest.input_ids) + max_new
        num_failures = 0
        while True:
            remaining_s = deadline_s - loop.time()
            if remaining_s <= 0:
                raise DeadlineExceeded(f"a request waits for its {max_new} tokens for more than {self._timeout_s:g} s")
            server = await self._fleet.pool.acquire(key, num_tokens, min(remaining_s, self._server_timeout_s))
            try:
                call = self._fleet.client.call(server.address, request, deadline_s - loop.time(), max_attempts=1)
                return self._fleet.backend.parse_generation_response(await server.run(call))
            except DeadlineExceeded:
                raise
            except InfraError as error:
                if server.is_alive and await self._fleet.is_healthy(server.address):
                    num_failures += 1
                    if num_failures >= self._max_attempts:
                        raise
                else:
                    self._fleet.lose(server, str(error))
                    continue
            finally:
                self._fleet.pool.release(server, num_tokens)
            await asyncio.sleep(retry_delay_s(num_failures))
