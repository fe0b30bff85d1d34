# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from areal.api.reward_api import AsyncRewardWrapper, close_reward_pools
from areal.utils.deadline_pool import handle
from areal.utils.deadline_pool.pool import DeadlinePool
from areal.utils.deadline_pool.registry import pool_function
from areal.utils.errors import ConfigError, InfraError, UserCodeError
from tests.api import reward_functions as rf

ROOT = Path(__file__).resolve().parents[2]


def run(test: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine function on a fresh loop with a deadline, and end its workers."""

    async def guarded() -> Any:
        try:
            return await asyncio.wait_for(test(), 60)
        finally:
            await close_reward_pools()

    return asyncio.run(guarded())


async def outcome(call: Awaitable[float]) -> float | Exception:
    try:
        return await call
    except (UserCodeError, InfraError) as error:
        return error


def gone(pid: int, timeout_s: float = 10.0) -> bool:
    """Whether a process has ended, or does so soon."""
    try:
        psutil.Process(pid).wait(timeout_s)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


@pytest.mark.parametrize(("value", "reward"), [(True, 1.0), (-3, -3.0), (0.25, 0.25), (np.float32(0.5), 0.5)])
def test_call_number_returns_float(value: Any, reward: float) -> None:
    result = run(lambda: AsyncRewardWrapper(rf.give)(value))
    assert (type(result), result) == (float, reward)


@pytest.mark.parametrize(
    ("value", "cause", "text"),
    [
        (math.nan, "ValueError", "must be finite, got nan"),
        (math.inf, "ValueError", "must be finite, got inf"),
        (None, "TypeError", "must be a number .* got NoneType"),
        ("1.0", "TypeError", "got str: '1.0'"),
        ([1.0], "TypeError", "got list"),
    ],
)
def test_call_no_finite_number_raises_user_code_error(value: Any, cause: str, text: str) -> None:
    with pytest.raises(UserCodeError, match=text) as info:
        run(lambda: AsyncRewardWrapper(rf.give)(value))
    assert info.value.cause_type == cause


def test_call_passes_all_arguments() -> None:
    result = run(lambda: AsyncRewardWrapper(rf.length)("p", "abc", [1], [2, 3], answer="4", level=5))
    assert result == 7.0


def test_call_raising_function_names_it_type_and_line() -> None:
    with pytest.raises(UserCodeError) as info:
        run(lambda: AsyncRewardWrapper(rf.divide_by_zero)(1.0))
    assert info.value.where == "tests.api.reward_functions.divide_by_zero"
    assert info.value.cause_type == "ZeroDivisionError"
    assert "return x / 0" in info.value.cause_text
    assert "deadline_pool" not in info.value.cause_text


def test_call_system_exit_costs_only_its_own_sample() -> None:
    async def test() -> tuple[Any, float]:
        return await outcome(AsyncRewardWrapper(rf.leave)()), await AsyncRewardWrapper(rf.one)()

    error, reward = run(test)
    assert error.cause_type == "SystemExit"
    assert reward == 1.0


@pytest.mark.parametrize("function", [rf.loop, rf.loop_in_c])
def test_call_endless_function_is_killed_and_neighbours_score(function: Callable[..., float]) -> None:
    async def test() -> tuple[list, float]:
        start = time.monotonic()
        endless = AsyncRewardWrapper(function, timeout_seconds=1.0, max_workers=2)
        good = AsyncRewardWrapper(rf.one, timeout_seconds=1.0, max_workers=2)
        calls = [good() for _ in range(20)] + [endless()] + [good() for _ in range(20)]
        results = await asyncio.gather(*map(outcome, calls))
        return results, time.monotonic() - start

    results, seconds = run(test)
    error = results.pop(20)
    assert results == [1.0] * 40
    assert error.cause_type == "TimeoutError"
    assert "within 1 s" in error.cause_text
    assert seconds < 15


def test_call_single_worker_goes_on_after_a_kill() -> None:
    async def test() -> list:
        endless = AsyncRewardWrapper(rf.loop, timeout_seconds=0.3, max_workers=1)
        good = AsyncRewardWrapper(rf.one, timeout_seconds=5, max_workers=1)
        return await asyncio.gather(*map(outcome, [endless(), good(), endless(), good()]))

    first, second, third, fourth = run(test)
    assert (second, fourth) == (1.0, 1.0)
    assert isinstance(first, UserCodeError)
    assert isinstance(third, UserCodeError)


def test_call_killed_function_takes_its_children_along(tmp_path: Path) -> None:
    marker = tmp_path / "pids"
    error = run(lambda: outcome(AsyncRewardWrapper(rf.loop_with_child, timeout_seconds=2)(str(marker))))
    assert error.cause_type == "TimeoutError"
    assert all(gone(int(pid)) for pid in marker.read_text().split())


def test_call_crashing_function_is_retried_then_typed(tmp_path: Path) -> None:
    async def test() -> list:
        crash = AsyncRewardWrapper(rf.crash, max_workers=1, max_retries=1)
        calls = [crash(str(tmp_path / "segv"), signal.SIGSEGV), crash(str(tmp_path / "kill"), signal.SIGKILL)]
        return await asyncio.gather(*map(outcome, [*calls, AsyncRewardWrapper(rf.one, max_workers=1)()]))

    fault, killed, reward = run(test)
    assert isinstance(fault, UserCodeError)
    assert "SIGSEGV" in fault.cause_text
    assert isinstance(killed, InfraError)  # nobody here sends SIGKILL: the system did
    assert "killed from outside" in str(killed)
    assert reward == 1.0
    assert (tmp_path / "segv").read_text() == "xx"


def test_call_crashing_once_is_retried_and_scores(tmp_path: Path) -> None:
    assert run(lambda: AsyncRewardWrapper(rf.crash_the_first_time)(str(tmp_path / "log"))) == 0.5


def test_call_allocating_without_end_raises_memory_error() -> None:
    with pytest.raises(UserCodeError) as info:
        run(lambda: AsyncRewardWrapper(rf.hoard)(1 << 40))
    assert info.value.cause_type == "MemoryError"


def test_call_two_workers_run_at_the_same_time(tmp_path: Path) -> None:
    async def test() -> list[float]:
        meet = AsyncRewardWrapper(rf.meet, timeout_seconds=30, max_workers=2)
        a, b = str(tmp_path / "a"), str(tmp_path / "b")
        return await asyncio.gather(meet(a, b), meet(b, a))

    assert run(test) == [1.0, 1.0]


def test_call_worker_has_no_torch() -> None:
    assert run(lambda: AsyncRewardWrapper(rf.torch_is_imported)()) == 0.0


def test_call_arguments_that_cannot_travel_raise_user_code_error() -> None:
    with pytest.raises(UserCodeError, match="arguments cannot be sent"):
        run(lambda: AsyncRewardWrapper(rf.give)(lambda: 1))


def test_call_module_not_importable_in_worker_raises_user_code_error(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("only_in_the_parent")
    exec("def fn():\n    return 1.0", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_in_the_parent", module)
    with pytest.raises(UserCodeError, match="only_in_the_parent") as info:
        run(lambda: AsyncRewardWrapper(module.fn)())
    assert info.value.cause_type == "ModuleNotFoundError"


def test_call_cancelled_while_waiting_is_never_run(tmp_path: Path) -> None:
    async def test() -> float:
        busy = asyncio.ensure_future(AsyncRewardWrapper(rf.loop, timeout_seconds=1, max_workers=1)())
        marker = str(tmp_path / "ran")
        waiting = asyncio.ensure_future(AsyncRewardWrapper(rf.meet, max_workers=1)(marker, marker))
        await asyncio.sleep(0)
        waiting.cancel()
        await outcome(busy)
        return await AsyncRewardWrapper(rf.one, max_workers=1)()

    assert run(test) == 1.0
    assert not (tmp_path / "ran").exists()


async def _async_reward() -> float:
    return 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reward_fn": lambda: 1.0}, "top level of a module"),
        ({"reward_fn": _async_reward}, "plain function"),
        ({"reward_fn": 3}, "plain function"),
        ({"reward_fn": rf.one, "timeout_seconds": 0}, "timeout_seconds must be positive"),
        ({"reward_fn": rf.one, "max_workers": 0}, "max_workers >= 1"),
    ],
)
def test_wrapper_unusable_arguments_raise_at_once(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AsyncRewardWrapper(**arguments)


@pytest.mark.parametrize(
    "limits", [{"max_calls": 2}, {"max_rss_bytes": 100 * 2**20}], ids=["after N calls", "above the memory limit"]
)
def test_pool_limit_reached_replaces_the_worker(limits: dict) -> None:
    async def test() -> list[float]:
        pool = DeadlinePool(max_workers=1, **limits)
        function = pool_function(rf.hoard, "hoard")
        payload = handle_payload(50 * 2**20)
        pids = [await pool.submit(function, payload, 30, 0) for _ in range(6)]
        await pool.close()
        return pids

    pids = run(test)
    assert len(set(pids)) == 3  # two calls of 50 MB reach either limit
    assert all(gone(int(pid)) for pid in pids)


def handle_payload(*args: Any) -> bytes:
    import pickle

    return pickle.dumps((args, {}))


def test_pool_closed_fails_calls_in_flight_and_leaves_no_process() -> None:
    async def test() -> tuple[list, int]:
        wrapper = AsyncRewardWrapper(rf.loop, max_workers=1)
        pid = int(await AsyncRewardWrapper(rf.pid, max_workers=1)())
        calls = [asyncio.ensure_future(outcome(wrapper())) for _ in range(2)]
        await asyncio.sleep(0)
        await close_reward_pools()
        return [await call for call in calls], pid

    errors, pid = run(test)
    assert all(isinstance(error, InfraError) for error in errors)
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("broken", ["exits", "cannot be created"])
def test_pool_workers_that_do_not_start_give_infra_error(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    def spawn(socket_fd: int) -> subprocess.Popen:
        if broken == "exits":
            return subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(7)"], pass_fds=[socket_fd])
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(handle, "_spawn", spawn)
    with pytest.raises(InfraError, match="exit code 7" if broken == "exits" else "temporarily unavailable"):
        run(lambda: AsyncRewardWrapper(rf.one, max_workers=1)())


def test_wrapper_used_from_two_loops_works_in_both() -> None:
    wrapper = AsyncRewardWrapper(rf.one, max_workers=1)
    assert asyncio.run(wrapper()) == 1.0  # this loop closes without closing its pool
    assert run(wrapper) == 1.0


SCRIPT = """
import asyncio, os, sys
from areal.api.reward_api import AsyncRewardWrapper
from tests.api import reward_functions as rf

def reward_of_script(x):
    return x + 0.5

async def main():
    print(int(await AsyncRewardWrapper(rf.pid)()), await AsyncRewardWrapper(reward_of_script)(1), flush=True)
    if len(sys.argv) > 1:
        await AsyncRewardWrapper(rf.loop)(sys.argv[1])

if __name__ == "__main__":
    asyncio.run(main())
"""


def _script(tmp_path: Path, *args: str) -> subprocess.Popen:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, str(path), *args], stdout=subprocess.PIPE, text=True, env=environment)


def test_script_end_leaves_no_process_and_main_functions_work(tmp_path: Path) -> None:
    output, _ = _script(tmp_path).communicate(timeout=60)
    pid, reward = output.split()
    assert float(reward) == 1.5
    assert gone(int(pid))


def test_script_killed_in_a_call_takes_the_looping_worker_along(tmp_path: Path) -> None:
    marker = tmp_path / "looping"
    script = _script(tmp_path, str(marker))
    deadline = time.monotonic() + 60
    while not (marker.exists() and marker.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    script.kill()
    script.communicate()
    assert gone(int(marker.read_text()))


def test_call_throughput_one_worker_is_thousands_a_second() -> None:
    async def test() -> float:
        wrapper = AsyncRewardWrapper(rf.one, max_workers=1)
        await wrapper()
        start = time.perf_counter()
        await asyncio.gather(*(wrapper("p" * 200, "c" * 200, list(range(64)), list(range(64))) for _ in range(4000)))
        return 4000 / (time.perf_counter() - start)

    # About 8000 a second on two quiet cores; the bound leaves room for a loaded machine.
    assert run(test) > 1500
