# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Routing over servers on a virtual clock."""

from __future__ import annotations

import asyncio

import pytest

from areal.engine.server_pool import ServerPool
from areal.utils.errors import DeadlineExceeded, ServerDead
from tests.virtual_clock import run_virtually


def test_acquire_new_keys_go_to_the_least_loaded_and_known_keys_stay() -> None:
    async def scenario() -> None:
        pool = ServerPool()
        a, b = pool.admit("a"), pool.admit("b")
        first = await pool.acquire("k1", 100, 1)
        assert (await pool.acquire("k2", 30, 1)) is not first
        assert (await pool.acquire("k3", 30, 1)) is not first
        assert (await pool.acquire("k1", 100, 1)) is first
        pool.release(first, 200)
        assert (await pool.acquire("k4", 1, 1)) is first
        assert {a.outstanding_tokens, b.outstanding_tokens} == {1, 60}

    run_virtually(scenario())


def test_acquire_without_servers_waits_for_one() -> None:
    async def scenario() -> None:
        pool = ServerPool()
        waiting = asyncio.create_task(pool.acquire("k", 1, 10))
        await asyncio.sleep(5)
        server = pool.admit("a")
        assert await waiting is server
        pool.lose(server, "power cut")
        with pytest.raises(DeadlineExceeded, match=r"none lives for 3 s \(a: power cut\)"):
            await pool.acquire("k", 1, 3)

    run_virtually(scenario())


def test_lose_ends_calls_in_flight_and_moves_their_keys() -> None:
    async def scenario() -> None:
        pool = ServerPool()
        a = pool.admit("a")
        assert await pool.acquire("k", 1, 1) is a
        call = asyncio.create_task(a.run(asyncio.sleep(1e6)))
        await asyncio.sleep(1)
        b = pool.admit("b")
        assert pool.lose(a, "killed") and not pool.lose(a, "again")
        with pytest.raises(ServerDead, match="killed"):
            await call
        assert await pool.acquire("k", 1, 1) is b
        assert pool.num_lost == 1 and pool.dead() == [a]

    run_virtually(scenario())


def test_run_cancelled_caller_cancels_its_call() -> None:
    async def scenario() -> None:
        server = ServerPool().admit("a")
        caller = asyncio.create_task(server.run(asyncio.sleep(1e6)))
        await asyncio.sleep(1)
        caller.cancel()
        await asyncio.wait({caller})
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtually(scenario())
