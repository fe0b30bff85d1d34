# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Run a function on several gloo ranks of this machine, quickly and with a deadline.

A fork server that has already imported torch starts each rank in about 0.2 s (spawning anew costs 3 s a rank).
A collective mismatch in gloo aborts one peer and hangs the others, so every run has a wall-clock deadline after
which all ranks are killed. Must never be imported by library code.
"""

from __future__ import annotations

import datetime
import importlib.util
import multiprocessing
import os
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

# Importing torch._dynamo costs 2-3 s and the first optimizer step or fully_shard would do it in every rank.
# The fork server skips modules that do not exist.
_PRELOAD = [
    "torch._dynamo",
    "torch.distributed.fsdp",
    "torch.distributed.checkpoint.state_dict",
    "torch.distributed.tensor.experimental",
    "transformers.models.qwen2.modeling_qwen2",
    "transformers.models.qwen3.modeling_qwen3",
    "areal.engine.fsdp_engine",
    "areal.experimental.engine.archon_engine",
    "torch.distributed.pipelining",
]


def run_ranks(
    fn: Callable[..., Any], world_size: int, *args: Any, timeout_s: float = 60.0, init_group: bool = True
) -> list[Any]:
    """Call `fn(rank, world_size, *args)` in `world_size` processes and return the results in rank order.

    Args:
        fn: a module-level function (it is pickled by name); its result must be picklable.
        world_size: number of ranks, >= 1.
        timeout_s: wall-clock deadline of the whole run, in seconds; also the timeout of each collective.
        init_group: create the default gloo process group before `fn` and destroy it afterwards. RANK, WORLD_SIZE and
            LOCAL_RANK are set in any case.

    Raises:
        AssertionError: a rank raised (with its traceback), died (with its exit code) or missed the deadline.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([name for name in _PRELOAD if _top_level_exists(name)])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="areal-ranks-") as folder:
        init_method = f"file://{folder}/rendezvous" if init_group else None
        processes: list[BaseProcess] = []
        readers: list[Connection] = []
        try:
            for rank in range(world_size):
                reader, writer = context.Pipe(duplex=False)
                process = context.Process(
                    target=_rank_main, args=(fn, rank, world_size, args, timeout_s, init_method, writer), daemon=True
                )
                process.start()
                writer.close()
                processes.append(process)
                readers.append(reader)
            return _collect(processes, readers, time.monotonic() + timeout_s)
        finally:
            for process in processes:
                process.kill()
                process.join()


def _top_level_exists(name: str) -> bool:
    return importlib.util.find_spec(name.partition(".")[0]) is not None


def _rank_main(
    fn: Callable[..., Any],
    rank: int,
    world_size: int,
    args: tuple[Any, ...],
    timeout_s: float,
    init_method: str | None,
    writer: Connection,
) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_RANK=str(rank), OMP_NUM_THREADS="1")
    try:
        import torch
        import torch.distributed as dist

        torch.set_num_threads(1)
        if init_method is not None:
            timeout = datetime.timedelta(seconds=timeout_s)
            dist.init_process_group("gloo", init_method, timeout, world_size, rank)
            dist.barrier()  # a rank that ends at once must not close connections others still open
        # Plain pickle: torch's own reducer would hand tensors over by file descriptors that die with this process.
        payload = pickle.dumps((True, fn(rank, world_size, *args)))
        if init_method is not None and dist.is_initialized():
            dist.destroy_process_group()
    except BaseException:  # noqa: BLE001 - a rank reports whatever ended it, then exits
        payload = pickle.dumps((False, traceback.format_exc()))
    writer.send_bytes(payload)
    writer.close()
    # Interpreter teardown may wait for gloo threads of a peer that has failed.
    os._exit(0)


def _collect(processes: list[BaseProcess], readers: list[Connection], deadline: float) -> list[Any]:
    results: dict[int, Any] = {}
    while len(results) < len(processes):
        pending = {readers[rank]: rank for rank in range(len(processes)) if rank not in results}
        ready = wait(list(pending), timeout=max(0.0, deadline - time.monotonic()))
        if not ready:
            raise AssertionError(f"ranks {sorted(pending.values())} gave no result before the deadline")
        for reader in ready:
            rank = pending[reader]
            try:
                succeeded, value = pickle.loads(reader.recv_bytes())
            except EOFError:
                processes[rank].join(timeout=5.0)
                raise AssertionError(f"rank {rank} died with exit code {processes[rank].exitcode}") from None
            if not succeeded:
                raise AssertionError(f"rank {rank} raised:\n{value}")
            results[rank] = value
    return [results[rank] for rank in range(len(processes))]
