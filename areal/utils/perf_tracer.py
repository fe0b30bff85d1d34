# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Where the time goes: spans of every process of a run on one wall-clock time line.

Trainer, workers, rollout executor and servers open `trace_scope`s (work of a thread) and session phases (the life of a
sample: generate, reward). Each process appends Chrome-trace events as JSON lines to
`RUN_DIR/perf_tracer/[role/]traces-r{rank}.jsonl`; `to_perfetto` merges the files and `areal report` draws them.
Nothing is recorded until `configure`; a switched-off scope costs one comparison. Recording never touches the disk:
events wait in memory for `save`, or until `MAX_BUFFERED_EVENTS` are there. Must never raise into the code it measures.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import inspect
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from contextvars import ContextVar
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from areal.utils import names
from areal.utils.jsonl import read_jsonl, to_line
from areal.utils.logging import getLogger
from areal.utils.stat_keys import TRACE_DIR

if TYPE_CHECKING:
    from areal.api.cli_args import PerfTracerConfig

logger = getLogger("perf_tracer")

# About 6 MB of dicts; a step of a large run records a few thousand events.
MAX_BUFFERED_EVENTS = 20_000
SESSION_CATEGORY = "session"


class Category(str, Enum):
    """Kinds of work, for colours and filters; any other string may be used too."""

    COMPUTE = "compute"
    COMM = "comm"
    IO = "io"
    SYNC = "sync"
    SCHEDULER = "scheduler"
    INSTR = "instr"
    MISC = "misc"


class PerfTracer:
    """Records the events of this process and appends them to `path`. Thread-safe."""

    def __init__(self, path: str | Path, *, rank: int, role: str | None = None, save_interval: int = 1) -> None:
        self.path = Path(path)
        self.save_interval = save_interval
        self._pid = os.getpid()
        # Spans are measured by the monotonic clock and shifted once to wall time: this lines processes up, and no clock
        # adjustment during the run can make a span negative.
        self._wall_offset_ns = time.time_ns() - time.perf_counter_ns()
        self._lock = threading.Lock()
        self._events: list[dict[str, Any]] = []
        self._known_threads: set[int] = set()
        self._add({"ph": "M", "name": "process_name", "args": {"name": f"{role or 'process'} r{rank}"}})

    def span(
        self, name: str, category: str, start_ns: int, args: dict[str, Any] | None, lane: str | None = None
    ) -> None:
        """Record a span that ends now. `lane` sets it apart from its thread: spans of tasks overlap without nesting."""
        self._add(
            {
                "ph": "X",
                "name": name,
                "cat": category,
                "ts": self._microseconds(start_ns),
                "dur": (time.perf_counter_ns() - start_ns) // 1000,
                **({"id": lane} if lane else {}),
                **({"args": args} if args else {}),
            }
        )

    def instant(self, name: str, category: str, args: dict[str, Any] | None) -> None:
        """Record a point in time."""
        now = self._microseconds(time.perf_counter_ns())
        self._add({"ph": "i", "s": "t", "name": name, "cat": category, "ts": now, **({"args": args} if args else {})})

    def save(self, step: int | None = None, force: bool = False) -> None:
        """Append what is buffered, on steps n-1, 2n-1, ... for a save interval n; always without `step` or with `force`."""
        if force or step is None or (step + 1) % self.save_interval == 0:
            self.flush()

    def flush(self) -> None:
        """Append what is buffered; a disk that refuses costs the events, not the run."""
        with self._lock:
            events, self._events = self._events, []
        if not events or os.getpid() != self._pid:  # a forked child holds copies of its parent's events
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write("".join(to_line(event) for event in events))
        except (OSError, TypeError) as error:
            logger.warning("%d trace events are lost: cannot write %s: %s", len(events), self.path, error)

    def _microseconds(self, counter_ns: int) -> int:
        return (counter_ns + self._wall_offset_ns) // 1000

    def _add(self, event: dict[str, Any]) -> None:
        thread = threading.get_native_id()
        event["pid"], event["tid"] = self._pid, thread
        with self._lock:
            if thread not in self._known_threads:
                self._known_threads.add(thread)
                name = {"name": threading.current_thread().name}
                self._events.append({"ph": "M", "name": "thread_name", "pid": self._pid, "tid": thread, "args": name})
            self._events.append(event)
            is_full = len(self._events) >= MAX_BUFFERED_EVENTS
        if is_full:
            self.flush()


class _Span:
    """Context manager of one span; sync and async, so that decorators and `async with` share it."""

    __slots__ = ("_args", "_category", "_lane", "_name", "_start_ns", "_tracer")

    def __init__(
        self, tracer: PerfTracer, name: str, category: str, args: dict[str, Any] | None, lane: str | None
    ) -> None:
        self._tracer, self._name, self._category, self._args, self._lane = tracer, name, category, args, lane

    def __enter__(self) -> None:
        self._start_ns = time.perf_counter_ns()

    def __exit__(self, *exc_info: object) -> None:
        self._tracer.span(self._name, self._category, self._start_ns, self._args, self._lane)

    async def __aenter__(self) -> None:
        self._start_ns = time.perf_counter_ns()

    async def __aexit__(self, *exc_info: object) -> None:
        self._tracer.span(self._name, self._category, self._start_ns, self._args, self._lane)


_OFF: contextlib.nullcontext[None] = contextlib.nullcontext()
_tracer: PerfTracer | None = None
_lanes = itertools.count(1)
_sessions = itertools.count(1)
_task_id: ContextVar[int | str | None] = ContextVar("perf_tracer_task_id", default=None)
_session_id: ContextVar[int | str | None] = ContextVar("perf_tracer_session_id", default=None)


def configure(config: PerfTracerConfig, *, rank: int, role: str | None = None) -> None:
    """Start recording this process when `config.enabled`; RuntimeError when it already records."""
    if is_configured():
        raise RuntimeError("perf_tracer is configured already in this process: call reset() first")
    if not config.enabled:
        return
    root = names.log_dir(config.fileroot, config.experiment_name, config.trial_name)
    configure_at(root, rank=rank, role=role, save_interval=config.save_interval)


def configure_at(run_dir: str | Path, *, rank: int, role: str | None = None, save_interval: int = 1) -> None:
    """Start recording this process into `run_dir`; for processes that have no experiment config, such as servers."""
    global _tracer
    folder = Path(run_dir) / TRACE_DIR / (role or "")
    _tracer = PerfTracer(folder / f"traces-r{rank}.jsonl", rank=rank, role=role, save_interval=save_interval)
    atexit.register(_tracer.flush)


def reset() -> None:
    """Write what is buffered and stop recording."""
    global _tracer
    if _tracer is not None:
        _tracer.flush()
        atexit.unregister(_tracer.flush)
    _tracer = None


def is_configured() -> bool:
    """Whether this process records."""
    return _tracer is not None


def get_tracer() -> PerfTracer:
    """The tracer of this process; RuntimeError when it does not record."""
    if _tracer is None:
        raise RuntimeError("perf_tracer is off: call configure(config, rank=...) with config.enabled=True first")
    return _tracer


def save(step: int | None = None, force: bool = False) -> None:
    """Write the buffered events when the save interval says so; see `PerfTracer.save`."""
    if _tracer is not None:
        _tracer.save(step, force)


def trace_scope(
    name: str, category: str | None = None, args: dict[str, Any] | None = None
) -> AbstractContextManager[None]:
    """Span of synchronous work; spans of one thread nest. Do not hold it across an `await`: use `atrace_scope`."""
    return _OFF if _tracer is None else _Span(_tracer, name, _category(category), args, None)


def atrace_scope(
    name: str, category: str | None = None, args: dict[str, Any] | None = None
) -> AbstractAsyncContextManager[None]:
    """Span of a coroutine, on a lane of its own because tasks interleave."""
    return _OFF if _tracer is None else _Span(_tracer, name, _category(category), args, f"a{next(_lanes)}")


def instant(name: str, category: str | None = None, args: dict[str, Any] | None = None) -> None:
    """A point in time."""
    if _tracer is not None:
        _tracer.instant(name, _category(category), args)


def trace_perf(name: str, category: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: every call of a function or coroutine function is a span."""
    return _decorator(lambda: trace_scope(name, category), lambda: atrace_scope(name, category))


def set_task_id(task_id: int | str | None) -> None:
    """Name the task (prompt) that the running asyncio task works on; its session phases carry the id."""
    _task_id.set(task_id)


def get_task_id() -> int | str | None:
    """The id given by `set_task_id` in this context."""
    return _task_id.get()


def set_session_id(session_id: int | str | None) -> None:
    """Name the session (sample) that the running asyncio task works on."""
    _session_id.set(session_id)


def get_session_id() -> int | str | None:
    """The id given by `set_session_id` or `session_context` in this context."""
    return _session_id.get()


def trace_session_phase(phase: str, args: dict[str, Any] | None = None) -> AbstractContextManager[None]:
    """A phase of the current sample ("generate", "reward", "toolcall") on the sample's own lane."""
    return _OFF if _tracer is None else _session_span(_tracer, phase, args)


def atrace_session_phase(phase: str, args: dict[str, Any] | None = None) -> AbstractAsyncContextManager[None]:
    """`trace_session_phase` for `async with`."""
    return _OFF if _tracer is None else _session_span(_tracer, phase, args)


def trace_session(phase: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: every call of a function or coroutine function is a phase of the current sample."""
    return _decorator(lambda: trace_session_phase(phase), lambda: atrace_session_phase(phase))


def trace_session_event(name: str, **payload: Any) -> None:
    """A point in the life of the current sample, e.g. its outcome."""
    if _tracer is not None:
        _tracer.instant(name, SESSION_CATEGORY, {**_session_args(), **payload})


def session_context() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: every call is a new session, with an id of its own and a span over its whole life."""

    def open_session() -> _Span | contextlib.nullcontext[None]:
        if _tracer is None:
            return _OFF
        _session_id.set(next(_sessions))
        return _session_span(_tracer, "session", None)

    return _decorator(open_session, open_session)


def to_perfetto(paths: Iterable[str | Path], output: str | Path) -> Path:
    """Merge trace files into one JSON file that https://ui.perfetto.dev and chrome://tracing open; returns `output`.

    Times start at 0 with the earliest event. Processes are renumbered by file, since two machines may share pids. Torn
    lines are skipped with a warning.
    """
    events: list[dict[str, Any]] = []
    pids: dict[tuple[str, int], int] = {}
    for path in paths:
        records, num_malformed = read_jsonl(path)
        if num_malformed:
            logger.warning("%s: skipped %d malformed lines", path, num_malformed)
        for event in records:
            event["pid"] = pids.setdefault((str(path), event.get("pid", 0)), len(pids) + 1)
            events.extend(_expand(event))
    start = min((event["ts"] for event in events if "ts" in event), default=0)
    for event in events:
        if "ts" in event:
            event["ts"] -= start
    # Metadata first, then by time; at equal times the longer span is the outer one.
    events.sort(key=lambda event: (event.get("ts", -1), -event.get("dur", 0)))
    output = Path(output)
    output.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}), encoding="utf-8")
    return output


def _expand(event: dict[str, Any]) -> list[dict[str, Any]]:
    """A span with a lane as the begin/end pair that the format wants for overlapping work."""
    if event.get("ph") != "X" or "id" not in event:
        return [event]
    begin = {**event, "ph": "b", "id": f"{event['pid']}:{event['id']}"}
    duration = begin.pop("dur")
    end = {key: value for key, value in begin.items() if key != "args"}
    return [begin, {**end, "ph": "e", "ts": event["ts"] + duration}]


def _session_args() -> dict[str, Any]:
    ids = {"task_id": _task_id.get(), "session_id": _session_id.get()}
    return {key: value for key, value in ids.items() if value is not None}


def _session_span(tracer: PerfTracer, phase: str, args: dict[str, Any] | None) -> _Span:
    ids = _session_args()
    lane = "s" + ".".join(str(value) for value in ids.values()) if "session_id" in ids else f"a{next(_lanes)}"
    return _Span(tracer, phase, SESSION_CATEGORY, {**ids, **(args or {})}, lane)


def _category(category: str | None) -> str:
    if category is None:
        return Category.MISC.value
    return category.value if isinstance(category, Category) else category


def _decorator(
    open_sync: Callable[[], AbstractContextManager[None]], open_async: Callable[[], AbstractAsyncContextManager[None]]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Wrap functions in a span that is decided at each call: tracing may be switched on after the import."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                async with open_async():
                    return await function(*args, **kwargs)

            return run_async

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with open_sync():
                return function(*args, **kwargs)

        return run

    return decorate
