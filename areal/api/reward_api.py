# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Reward functions: their convention, and the wrapper by which workflows await them.

A reward function is plain Python, `fn(prompt, completions, prompt_ids, completion_ids, **item) -> float`. It is user code:
it may loop for ever, leak or crash, so it runs in a process of its own that a deadline kills. A failure is an exception with
a type and is never turned into a reward: a 0 nobody earned would be trained on. Must never import torch.
"""

from __future__ import annotations

import inspect
import math
import os
import pickle
import sys
from collections.abc import Sequence
from typing import Any, Protocol

from areal.utils.deadline_pool.registry import close_pools_of_running_loop, pool_function, pool_of_running_loop
from areal.utils.errors import ConfigError, UserCodeError


class RewardFn(Protocol):
    """What a reward function looks like; `item` holds the other fields of the dataset's item."""

    def __call__(
        self,
        prompt: str | None,
        completions: str,
        prompt_ids: Sequence[int] | None,
        completion_ids: Sequence[int] | None,
        **item: Any,
    ) -> float:
        """The reward: a finite number (bool and int count as such)."""
        ...


class AsyncRewardWrapper:
    """Awaitable form of a reward function: `reward = await wrapper(prompt, completion, prompt_ids, completion_ids, **item)`.

    All wrappers with the same `max_workers` (None: half of the CPUs this process may use) share the processes of an event
    loop. `timeout_seconds` bounds each call, the wait for a free process and the import of the function's module apart.
    `max_retries` repeats calls whose process died; exceptions and timeouts are the function's own and are not repeated.

    A call raises `UserCodeError` when the function raised, ran past its deadline, crashed its process on every attempt or
    returned anything but a finite number, and `InfraError` when the pool itself failed.
    """

    def __init__(
        self,
        reward_fn: RewardFn,
        timeout_seconds: float = 15,
        max_workers: int | None = None,
        max_retries: int = 1,
    ) -> None:
        if not (math.isfinite(timeout_seconds) and timeout_seconds > 0):
            raise ConfigError(f"timeout_seconds must be positive and finite, got {timeout_seconds}")
        if max_retries < 0 or (max_workers is not None and max_workers < 1):
            raise ConfigError(
                f"max_retries must be >= 0 and max_workers >= 1, got max_retries={max_retries}, max_workers={max_workers}"
            )
        if not callable(reward_fn) or inspect.iscoroutinefunction(reward_fn):
            raise ConfigError(
                f"reward_fn must be a plain function, got {reward_fn!r}; await async code in the workflow"
            )
        where = f"{reward_fn.__module__}.{reward_fn.__qualname__}" if inspect.isroutine(reward_fn) else repr(reward_fn)
        try:
            self._function = pool_function(reward_fn, where)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"reward_fn {where} cannot be sent to another process ({error}); "
                "define it at the top level of a module, not as a lambda or inside a function"
            ) from error
        self.timeout_seconds = timeout_seconds
        self.max_retries = max_retries
        self.max_workers = max_workers if max_workers is not None else _default_workers()

    async def __call__(self, *args: Any, **kwargs: Any) -> float:
        """The reward of one completion. See the class for what it raises."""
        try:
            payload = pickle.dumps((args, kwargs), protocol=pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            text = f"its arguments cannot be sent to another process: {error}"
            raise UserCodeError(self._function.where, type(error).__name__, text) from error
        pool = pool_of_running_loop(self.max_workers)
        return await pool.submit(self._function, payload, self.timeout_seconds, self.max_retries)


async def close_reward_pools() -> None:
    """End the reward processes of the running event loop; calls in flight fail with `InfraError`.

    For engines that shut down before the interpreter does. Without it, the processes end with the interpreter.
    """
    await close_pools_of_running_loop()


def _default_workers() -> int:
    num_cpus = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, num_cpus // 2)
