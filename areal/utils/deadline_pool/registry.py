# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The pools of this process, one for each event loop and size, and functions prepared for them.

Pools end with `close_pools_of_running_loop`, when their loop has closed (noticed at the next pool), or with the interpreter.
"""

from __future__ import annotations

import asyncio
import atexit
import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

from areal.utils.deadline_pool.handle import PoolFunction
from areal.utils.deadline_pool.pool import DeadlinePool
from areal.utils.deadline_pool.wire import LoadRequest

_pools: dict[tuple[asyncio.AbstractEventLoop, int], DeadlinePool] = {}
_function_ids: dict[bytes, int] = {}
_lock = threading.Lock()


def pool_of_running_loop(max_workers: int) -> DeadlinePool:
    """The pool of the running event loop with `max_workers` processes, made at first use."""
    loop = asyncio.get_running_loop()
    pool = _pools.get((loop, max_workers))
    if pool is None:
        with _lock:
            for key in [key for key in _pools if key[0].is_closed()]:
                _pools.pop(key).kill_processes()
            pool = _pools[loop, max_workers] = DeadlinePool(max_workers)
    return pool


async def close_pools_of_running_loop() -> None:
    """End the workers of the running loop and wait for that; a later call starts new ones."""
    loop = asyncio.get_running_loop()
    with _lock:
        pools = [_pools.pop(key) for key in list(_pools) if key[0] is loop]
    for pool in pools:
        await pool.close()


def pool_function(function: Callable[..., Any], where: str) -> PoolFunction:
    """Prepare a function for workers. Raises what `pickle` raises when it cannot travel."""
    pickled = pickle.dumps(function)
    main_path, main_module = None, None
    if b"__main__" in pickled:
        main = sys.modules["__main__"].__dict__
        spec = main.get("__spec__")
        main_module = spec.name if spec is not None else None
        main_path = main.get("__file__")
        if main_module is None and main_path is None:
            raise pickle.PicklingError("it is defined in an interactive session; put it in a module file")
    with _lock:
        function_id = _function_ids.setdefault(pickled, len(_function_ids) + 1)
    return PoolFunction(function_id, where, pickle.dumps(LoadRequest(pickled, main_path, main_module)))


@atexit.register
def _kill_all() -> None:
    for pool in _pools.values():
        pool.kill_processes()
