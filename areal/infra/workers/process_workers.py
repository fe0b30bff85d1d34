# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A worker group of processes on this machine with a torch rendezvous. Trainers make one for each role.

The public methods only encode a call, append it to the inbox of the group's `Conductor` and hand back a future.
"""

from __future__ import annotations

import atexit
import os
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

from areal.infra.workers import wire
from areal.infra.workers.conductor import Conductor, GroupCall, RemoteWorker
from areal.infra.workers.fork_server import ForkServer
from areal.infra.workers.protocol import WorkerHealth, check_args_by_rank, check_rank
from areal.infra.workers.worker_main import CALL, MAKE
from areal.utils.process import rss_bytes


class ProcessWorkers:
    """`num_workers` processes, each holding `factory(*args)`; see `WorkerGroup` for the calls.

    `factory_path` is `"pkg.mod:name"`. `env` is added to the controller's environment in every worker; the rendezvous
    variables are set on top. Worker r logs to `log_dir/<name>-<r>.log` (default: a temporary directory, kept for reading).
    `deadline_s` bounds every call, counted from when its first rank starts it; `start_deadline_s` bounds the factory.
    """

    def __init__(
        self,
        factory_path: str,
        num_workers: int,
        args: tuple[Any, ...] = (),
        env: Mapping[str, str] | None = None,
        deadline_s: float = 1800.0,
        *,
        name: str = "worker",
        log_dir: str | Path | None = None,
        start_deadline_s: float = 300.0,
    ) -> None:
        if num_workers < 1:
            raise ValueError(f"expected at least one worker, got {num_workers}")
        self._deadline_s = deadline_s
        self._num_workers = num_workers
        frame = wire.encode((MAKE, factory_path, args))
        self.log_dir = Path(log_dir if log_dir is not None else tempfile.mkdtemp(prefix=f"areal-{name}-"))
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self._reserved_port = _reserve_port()
        workers = self._spawn(dict(env or {}), name)
        self._conductor = Conductor(name, workers)
        atexit.register(self.close)
        made = self._submit("its factory", [frame] * num_workers, range(num_workers), start_deadline_s)
        if made.exception() is not None:
            self.close()
        made.result()

    def _spawn(self, env: dict[str, str], name: str) -> list[RemoteWorker]:
        server = ForkServer.shared()
        env = dict(os.environ) | env
        # torch would start one thread a core in every worker; torchrun has the same rule
        num_threads = int(env.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // self._num_workers))))
        env |= {
            "WORLD_SIZE": str(self._num_workers),
            "LOCAL_WORLD_SIZE": str(self._num_workers),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self._reserved_port.getsockname()[1]),
        }
        workers = []
        for rank in range(self._num_workers):
            ours, theirs = socket.socketpair()
            log_path = self.log_dir / f"{name}-{rank}.log"
            log_path.touch()
            rank_env = env | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            process = server.spawn(theirs, env=rank_env, log_path=log_path, num_threads=num_threads)
            theirs.close()
            workers.append(RemoteWorker(rank, process, ours, log_path))
        return workers

    @property
    def world_size(self) -> int:
        """Number of worker processes."""
        return self._num_workers

    def call_all_async(self, method: str, *args: Any, **kwargs: Any) -> Future[list[Any]]:
        """See `WorkerGroup.call_all_async`; the arguments are encoded once for all ranks."""
        frame = wire.encode((CALL, method, args, kwargs))
        return self._submit(method, [frame] * self.world_size, range(self.world_size), self._deadline_s)

    def call_each_async(self, method: str, args_by_rank: Sequence[tuple[Any, ...]]) -> Future[list[Any]]:
        """See `WorkerGroup.call_each_async`."""
        check_args_by_rank(args_by_rank, self.world_size)
        frames = [wire.encode((CALL, method, args, {})) for args in args_by_rank]
        return self._submit(method, frames, range(self.world_size), self._deadline_s)

    def call_rank_async(self, rank: int, method: str, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `WorkerGroup.call_rank_async`."""
        check_rank(rank, self.world_size)
        frame = wire.encode((CALL, method, args, kwargs))
        return self._submit(method, [frame], [rank], self._deadline_s, single=True)

    def call_all(self, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        """See `WorkerGroup.call_all`."""
        return self.call_all_async(method, *args, **kwargs).result()

    def call_each(self, method: str, args_by_rank: Sequence[tuple[Any, ...]]) -> list[Any]:
        """See `WorkerGroup.call_each`."""
        return self.call_each_async(method, args_by_rank).result()

    def call_rank(self, rank: int, method: str, *args: Any, **kwargs: Any) -> Any:
        """See `WorkerGroup.call_rank`."""
        return self.call_rank_async(rank, method, *args, **kwargs).result()

    def health(self) -> list[WorkerHealth]:
        """See `WorkerGroup.health`."""
        now = time.monotonic()
        report = []
        for worker in self._conductor.workers:
            call = worker.current
            report.append(
                WorkerHealth(
                    rank=worker.rank,
                    pid=worker.process.pid,
                    alive=not worker.ended,
                    running=call.method if call else None,
                    running_s=now - worker.started_s if call else 0.0,
                    rss_bytes=0 if worker.ended else rss_bytes(worker.process.pid),
                )
            )
        return report

    def close(self) -> None:
        """See `WorkerGroup.close`."""
        atexit.unregister(self.close)
        self._conductor.close()
        self._reserved_port.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _submit(
        self, method: str, frames: Sequence[wire.Frame], ranks: Sequence[int], deadline_s: float, single: bool = False
    ) -> Future[Any]:
        call = GroupCall(method, dict(zip(ranks, frames, strict=True)), deadline_s, single=single)
        self._conductor.submit(call)
        return call.future


def _reserve_port() -> socket.socket:
    """A socket bound to a free port and never listening: holds the port for rank 0's rendezvous store.

    With SO_REUSEADDR on both sides, rank 0 may bind and listen although we hold the port, while the kernel gives it to
    nobody else; so the port cannot be taken between choosing and using it.
    """
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder
