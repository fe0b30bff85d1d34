# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The native inference server as a process: `python -m areal.engine.native.server --model-path DIR ...`.

Started by areal's launcher or by hand. The main thread answers HTTP, a second one owns the engine. Ends on SIGTERM
(returning what is under way as aborted), with its parent, and when the engine dies. Exit codes are the `EXIT_*` constants.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from areal.engine.native.lifetime import end_with_parent, write_ready_file
from areal.utils import perf_tracer
from areal.utils.errors import ArealError
from areal.utils.logging import getLogger

if TYPE_CHECKING:
    from areal.engine.native.engine import NativeEngine

EXIT_PORT_IN_USE = 3
EXIT_BAD_MODEL = 4
EXIT_ENGINE_DIED = 6
_HEALTH_POLL_S = 0.5
logger = getLogger("native")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line; defaults are those of `NativeConfig`."""
    parser = argparse.ArgumentParser(prog="areal.engine.native.server", description="areal's embedded inference server")
    parser.add_argument("--model-path", required=True, help="directory written by save_pretrained")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one; see --ready-file")
    parser.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16")
    parser.add_argument("--max-num-seqs", type=int, default=128, help="sequences that step together")
    parser.add_argument("--max-model-len", type=int, default=4096, help="tokens of a sequence, prompt and output")
    parser.add_argument(
        "--max-waiting", type=int, default=8192, help="requests held beyond that; more are answered 429"
    )
    parser.add_argument("--seed", type=int, default=1, help="for requests without one")
    parser.add_argument("--num-threads", type=int, default=1, help="torch threads")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--version", type=int, default=0, help="label of the weights in --model-path")
    parser.add_argument("--ready-file", type=Path, help="written with host, port and pid when listening")
    parser.add_argument("--trace-dir", type=Path, help="a run directory to record when this server worked in")
    parser.add_argument("--index", type=int, default=0, help="number of this server among those of the run, for traces")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run until told to stop; returns the exit code."""
    args = parse_args(argv)
    end_with_parent()
    if args.trace_dir is not None:
        perf_tracer.configure_at(args.trace_dir, rank=args.index, role="server")
    try:
        listener = socket.create_server((args.host, args.port), backlog=1024)
    except OSError as error:
        logger.error("expected a free port, got %s:%d (%s); choose another or --port 0", args.host, args.port, error)
        return EXIT_PORT_IN_USE
    with listener:
        return _serve(args, listener)


def _serve(args: argparse.Namespace, listener: socket.socket) -> int:
    import torch  # after the port is known to be free: imports take seconds

    from areal.engine.native.engine import NativeEngine
    from areal.engine.native.model_loading import build_runner
    from areal.engine.native.scheduler import EngineOptions

    torch.set_num_threads(args.num_threads)
    try:
        runner = build_runner(args.model_path, args.dtype, args.device)
    except (ArealError, OSError, ValueError) as error:  # OSError, ValueError: transformers on an unreadable config
        logger.error("cannot serve %s: %s", args.model_path, error)
        return EXIT_BAD_MODEL
    max_model_len = min(args.max_model_len, runner.info.max_positions)
    if max_model_len < args.max_model_len:
        logger.info("max_model_len %d is beyond the model's positions; using %d", args.max_model_len, max_model_len)
    options = EngineOptions(
        max_num_seqs=args.max_num_seqs,
        max_model_len=max_model_len,
        max_waiting=args.max_waiting,
        seed=args.seed,
        version=args.version,
    )
    engine = NativeEngine(runner, options).start()
    gc.freeze()  # the half million objects of the imports never die: keep them out of every collection
    try:
        return asyncio.run(_answer(engine, listener, args.ready_file))
    finally:
        engine.close()


async def _answer(engine: NativeEngine, listener: socket.socket, ready_file: Path | None) -> int:
    from aiohttp import web

    from areal.engine.native.http_api import HttpApi

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # Partial outputs go out as aborts within the shutdown grace period.
    web_runner = web.AppRunner(HttpApi(engine).application(), handler_cancellation=True, access_log=None)
    await web_runner.setup()
    await web.SockSite(web_runner, listener).start()
    host, port = listener.getsockname()[:2]
    info = engine.info
    logger.info("%s (%s, %s on %s) at http://%s:%d", info.model_type, info.runner, info.dtype, info.device, host, port)
    if ready_file is not None:
        write_ready_file(ready_file, host, port)
    while not stop.is_set() and engine.is_alive():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _HEALTH_POLL_S)
    died = not engine.is_alive()
    await asyncio.to_thread(engine.close)
    await web_runner.cleanup()
    return EXIT_ENGINE_DIED if died else 0


if __name__ == "__main__":
    sys.exit(main())
