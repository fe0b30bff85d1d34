# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The engine as other threads see it: one owner thread runs the scheduler, everyone else posts commands to its inbox.

Answers come as `concurrent.futures.Future`; the HTTP server wraps them for its loop. A command takes effect between two
steps. If the owner thread dies, every open and later call gets `ServerDead` with the cause.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from areal.api.io_struct import Version
from areal.engine.native.messages import GenerateRequest, Generation, PauseMode, RequestError
from areal.engine.native.metrics import prometheus_text
from areal.engine.native.runner import ModelInfo, Runner
from areal.engine.native.scheduler import EngineOptions, Scheduler
from areal.utils import perf_tracer, stat_keys
from areal.utils.errors import ServerDead
from areal.utils.logging import getLogger

logger = getLogger("native")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class EngineStatus:
    """A snapshot; `checksum` is of the weights labelled `version`."""

    version: Version
    checksum: str
    paused: bool
    running: int
    waiting: int


@dataclass(frozen=True)
class _Command(Generic[T]):
    run: Callable[[], T]
    future: Future[T]


class NativeEngine:
    """Continuous batching behind a thread-safe face. `start` it, `close` it; closing aborts what is left."""

    def __init__(self, runner: Runner, options: EngineOptions | None = None) -> None:
        self.options = options or EngineOptions()
        self._runner = runner
        self._scheduler = Scheduler(runner, self.options)
        self._label = (self._scheduler.version, runner.checksum)
        self._inbox: queue.SimpleQueue[_Command | tuple[GenerateRequest, Future[Generation]]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._own, name="native-engine", daemon=True)
        self._load_lock = threading.Lock()
        self._is_closing = False
        self._death: ServerDead | None = None
        self._open: set[Future] = set()
        self._open_lock = threading.Lock()

    @property
    def info(self) -> ModelInfo:
        """Facts of the served model."""
        return self._runner.info

    def start(self) -> NativeEngine:
        """Start the owner thread; returns self."""
        self._thread.start()
        return self

    def is_alive(self) -> bool:
        """Whether commands are still answered."""
        return self._thread.is_alive() and self._death is None

    def close(self, timeout_s: float = 30.0) -> None:
        """Abort everything and end the owner thread; raises `ServerDead` when it does not end in time."""
        if not self._thread.is_alive():
            return
        self._post(lambda: self._scheduler.pause(PauseMode.ABORT))
        self._post(self._stop)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise ServerDead(f"expected the engine thread to end within {timeout_s} s, it is still in a step")

    def submit(self, request: GenerateRequest) -> Future[Generation]:
        """Queue a request. Raises `RequestError`: 400 for a prompt that leaves no room, 429 when the queue is full."""
        length, limit = len(request.input_ids), self.options.max_model_len
        if length >= limit:
            raise RequestError(
                "prompt too long",
                expected=f"at most {limit - 1} prompt tokens (max_model_len {limit} less one to generate)",
                got=f"{length}",
                hint="shorten the prompt or raise --max-model-len",
            )
        limit = self.options.max_waiting + self.options.max_num_seqs
        if len(self._open) >= limit:
            self._scheduler.counters.requests_rejected_total += 1
            raise RequestError(
                "queue full",
                expected=f"fewer than {limit} open requests",
                got=f"{len(self._open)}",
                hint="retry later or lower max_concurrent_rollouts",
                status=429,
            )
        future: Future[Generation] = Future()
        self._enqueue((request, future), future)
        return future

    def cancel(self, future: Future[Generation]) -> None:
        """Give up a submitted request: its slot is freed after the current step."""
        self._post(lambda: self._scheduler.cancel(future))

    def abort(self, request_ids: list[str]) -> Future[int]:
        """Abort by request id (none: all); resolves to the number aborted."""
        return self._post(lambda: self._scheduler.abort_ids(request_ids))

    def pause(self, mode: PauseMode = PauseMode.KEEP) -> Future[EngineStatus]:
        """Stop stepping; resolves when nothing is computed any more."""
        return self._post(lambda: self._then_status(lambda: self._scheduler.pause(mode)))

    def resume(self) -> Future[EngineStatus]:
        """Step again."""
        return self._post(lambda: self._then_status(self._scheduler.resume))

    def load_weights(self, path: str | Path, version: int) -> EngineStatus:
        """Read, check and apply a checkpoint; blocks the caller, and the engine only for the copy.

        Loading the version already served changes nothing. Raises `CheckpointError`, with the old weights in place.
        """
        with self._load_lock:
            if self.status().version == version:
                return self.status()
            with perf_tracer.trace_scope(stat_keys.SPAN_LOAD, "io"):
                weights = self._runner.read_weights(Path(path))
                apply = lambda: self._scheduler.apply_weights(weights, Version(version))  # noqa: E731
                status = self._post(lambda: self._then_status(apply)).result()
        perf_tracer.save()
        logger.info("version %d from %s, checksum %.12s", version, path, status.checksum)
        return status

    def status(self) -> EngineStatus:
        """What is served now; any thread, never waits."""
        version, checksum = self._label
        return EngineStatus(
            version=version,
            checksum=checksum,
            paused=self._scheduler.is_paused,
            running=self._scheduler.num_live,
            waiting=self._scheduler.num_waiting,
        )

    def metrics(self) -> str:
        """Prometheus text."""
        status = self.status()
        gauges = {
            "running": status.running,
            "waiting": status.waiting,
            "paused": int(status.paused),
            "version": status.version,
        }
        return prometheus_text(self._scheduler.counters, gauges)

    def _then_status(self, action: Callable[[], None]) -> EngineStatus:
        action()
        self._label = (self._scheduler.version, self._runner.checksum)
        return self.status()

    def _post(self, run: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._enqueue(_Command(run, future), future)
        return future

    def _enqueue(self, item: _Command | tuple[GenerateRequest, Future[Generation]], future: Future) -> None:
        with self._open_lock:
            if self._death is not None:
                raise self._death
            self._open.add(future)
        future.add_done_callback(self._open.discard)
        self._inbox.put(item)

    def _stop(self) -> None:
        self._is_closing = True

    def _own(self) -> None:
        """The owner thread: drain the inbox, step, and sleep in the inbox when there is nothing to do."""
        try:
            while not self._is_closing:
                self._handle(self._inbox.get())
                if self._inbox.empty() and self._scheduler.has_work:
                    with perf_tracer.trace_scope(stat_keys.SPAN_SERVE, "compute"):
                        while self._scheduler.has_work and not self._is_closing:
                            self._scheduler.step()
                            while not self._inbox.empty():
                                self._handle(self._inbox.get())
        finally:
            self._die()

    def _handle(self, item: _Command | tuple[GenerateRequest, Future[Generation]]) -> None:
        if isinstance(item, _Command):
            item.future.set_result(item.run())
        else:
            self._scheduler.add(*item)

    def _die(self) -> None:
        """Answer everyone who still waits; on a clean stop there is nobody."""
        with self._open_lock:
            self._death = ServerDead("the engine thread has ended; see the server's log for the cause, then restart it")
            still_open = list(self._open)
        for future in still_open:
            if not future.done():
                future.set_exception(self._death)
