# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Worker objects for the tests of worker groups; importable by name in a worker process."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch
import torch.distributed as dist


class PicklesOnly(Exception):
    """Pickles, but does not unpickle: its constructor needs another argument."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)
        self.second = second


class Toy:
    def __init__(self, start: int = 0) -> None:
        self.value = start
        self.seen: list[object] = []

    def add(self, amount: int, *, times: int = 1) -> int:
        self.value += amount * times
        return self.value

    def echo(self, value: object) -> object:
        return value

    def tensor_facts(self, tensor: torch.Tensor) -> tuple[tuple[int, ...], str, float, bool]:
        tensor.add_(0)  # a received tensor must be writable
        return tuple(tensor.shape), str(tensor.dtype), float(tensor.double().sum()), tensor.requires_grad

    def rank_env(self) -> dict[str, str]:
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "MARK")
        return {name: os.environ[name] for name in names}

    def on_main_thread(self) -> bool:
        return threading.current_thread() is threading.main_thread()

    def pid(self) -> int:
        return os.getpid()

    def say(self, text: str) -> None:
        print(text)

    def raise_value_error(self) -> None:
        raise ValueError("this number is wrong")

    def raise_pickles_only(self) -> None:
        raise PicklesOnly("first words", "second words")

    def return_unpicklable(self) -> object:
        return threading.Lock()

    def sleep(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    def rank_0_raises_others_hang(self) -> None:
        if os.environ["RANK"] == "0":
            raise ValueError("rank 0 has bad data")
        time.sleep(600)

    def sleep_holding_the_gil(self, seconds: int) -> None:
        ctypes.PyDLL(None).sleep(seconds)  # PyDLL does not release the GIL: no Python thread of this process runs

    def log_and_kill_self(self, signal_number: int) -> None:
        print("the last words of the worker")
        os.kill(os.getpid(), signal_number)
        time.sleep(60)

    def log_and_exit(self, code: int) -> None:
        print("leaving")
        sys.exit(code)

    def start_child(self, new_session: bool) -> int:
        command = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
        return subprocess.Popen(command, start_new_session=new_session).pid

    def raise_broken_pipe(self) -> None:
        raise BrokenPipeError("a pipe of the user's own")

    def all_reduce(self) -> float:
        if not dist.is_initialized():
            dist.init_process_group("gloo")
        total = torch.tensor(float(dist.get_rank() + 1))
        dist.all_reduce(total)
        return total.item()

    def train_step(self) -> float:
        weight = torch.ones(8, 8, requires_grad=True)
        optimizer = torch.optim.AdamW([weight], lr=0.1)
        loss = (weight @ torch.ones(8)).sum()
        loss.backward()
        optimizer.step()
        return loss.item()


def failing_factory(text: str) -> Toy:
    raise ValueError(text)


def rank_one_dies(_: str) -> Toy:
    if os.environ["RANK"] == "1":
        os._exit(7)
    return Toy()


def run_controller(pid_file: str) -> None:
    """A controller that starts busy workers with children, forks a process that holds all its descriptors, and hangs.

    The pids of workers, their children, and the forked process go to a file, in this order.
    """
    from areal.infra.workers import ProcessWorkers

    group = ProcessWorkers("tests.infra.workers.toys:Toy", 2, log_dir=Path(pid_file).parent)
    pids = group.call_all("pid") + group.call_all("start_child", True)
    busy = group.call_all_async("sleep_holding_the_gil", 600)
    holder = os.fork()
    if holder == 0:
        time.sleep(600)
    pids.append(holder)
    Path(pid_file + ".tmp").write_text(" ".join(map(str, pids)))
    Path(pid_file + ".tmp").rename(pid_file)
    busy.result()


if __name__ == "__main__":
    run_controller(sys.argv[1])
