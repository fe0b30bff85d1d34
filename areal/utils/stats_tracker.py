# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Statistics of a step: recorded anywhere, reduced at once, exported together once a step.

Algorithms record masked token statistics (`denominator` + `stat`), workflows scalars and counters, trainers timings; the
trainer exports. A record is folded into sums, extrema and counts immediately, so memory does not grow with the number
of records; values stay on their device until `export`, which is the only place that waits for it.
Scopes belong to the running task or thread. A recording never communicates; an export does exactly one collective.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch

from areal.utils.logging import getLogger

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import ProcessGroup

logger = getLogger("stats_tracker")


class ReduceType(Enum):
    """How the records of a key become exported numbers; the suffixes are appended to the key."""

    AVG_MIN_MAX = "avg_min_max"  # /avg, /min, /max over masked elements
    AVG = "avg"
    SUM = "sum"
    MIN = "min"
    MAX = "max"
    SCALAR = "scalar"  # mean of the records at the key, their number at key__count
    COUNTER = "counter"  # sum of the records


_STAT_TYPES = frozenset(ReduceType) - {ReduceType.SCALAR, ReduceType.COUNTER}
_BOUNDED_TYPES = frozenset({ReduceType.AVG_MIN_MAX, ReduceType.MIN, ReduceType.MAX})


@dataclass
class _Entry:
    """All records of one key so far. Numbers are 0-d tensors while on a device and floats once exported."""

    reduce_type: ReduceType
    total: Tensor | float = 0.0
    count: Tensor | float = 0.0
    low: Tensor | float = math.inf
    high: Tensor | float = -math.inf
    ranks: tuple[int, ...] | None = None  # of the reduce_group given at record time

    def add(
        self,
        total: Tensor | float,
        count: Tensor | float,
        low: Tensor | None = None,
        high: Tensor | None = None,
    ) -> None:
        self.total = self.total + total
        self.count = self.count + count
        if low is not None and high is not None:
            self.low = torch.minimum(self.low, low) if isinstance(self.low, torch.Tensor) else low
            self.high = torch.maximum(self.high, high) if isinstance(self.high, torch.Tensor) else high

    def to_host(self) -> _Entry:
        numbers = (float(self.total), float(self.count), float(self.low), float(self.high))
        return _Entry(self.reduce_type, *numbers, ranks=self.ranks)

    def merged(self, other: _Entry) -> _Entry:
        """The records of both; both must be on the host."""
        return _Entry(
            self.reduce_type,
            self.total + other.total,
            self.count + other.count,
            _nan_aware(min, self.low, other.low),
            _nan_aware(max, self.high, other.high),
        )

    def numbers(self, key: str) -> dict[str, float]:
        """What the key exports: nothing for a masked statistic without a single element."""
        match self.reduce_type:
            case ReduceType.COUNTER:
                return {key: self.total}
            case ReduceType.SCALAR:
                return {key: self.total / self.count, f"{key}__count": self.count}
            case _ if self.count == 0:
                return {}
            case ReduceType.AVG_MIN_MAX:
                return {f"{key}/avg": self.total / self.count, f"{key}/min": self.low, f"{key}/max": self.high}
            case ReduceType.AVG:
                return {key: self.total / self.count}
            case ReduceType.SUM:
                return {key: self.total}
            case ReduceType.MIN:
                return {key: self.low}
            case ReduceType.MAX:
                return {key: self.high}


class DistributedStatsTracker:
    """Records under one name, which prefixes every key. Thread-safe; scopes are per task and thread."""

    def __init__(self, name: str = "") -> None:
        self.name = name.strip("/")
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._masks: dict[str, Tensor] = {}  # latest record of each denominator
        # One variable a tracker: a scope of the trainer must not prefix what the "rollout" tracker records inside it.
        # Trackers live as long as the process, so their variables may too.
        self._scopes: ContextVar[tuple[str, ...]] = ContextVar(f"stats_scopes:{self.name}", default=())

    @contextlib.contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Prefix the keys recorded inside with `name/`; scopes nest."""
        token = self._scopes.set((*self._scopes.get(), name.strip("/")))
        try:
            yield
        finally:
            self._scopes.reset(token)

    @contextlib.contextmanager
    def disable_scope(self) -> Iterator[None]:
        """Record without the prefixes of the surrounding scopes."""
        token = self._scopes.set(())
        try:
            yield
        finally:
            self._scopes.reset(token)

    def scope_func_wrapper(self, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorator: run a function or coroutine function inside `scope(name)`, keeping its name, docs and signature."""

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            if inspect.iscoroutinefunction(function):

                @functools.wraps(function)
                async def run_async(*args: Any, **kwargs: Any) -> Any:
                    with self.scope(name):
                        return await function(*args, **kwargs)

                return run_async

            @functools.wraps(function)
            def run(*args: Any, **kwargs: Any) -> Any:
                with self.scope(name):
                    return function(*args, **kwargs)

            return run

        return decorate

    def scalar(self, *, reduce_group: ProcessGroup | None = None, **values: float | Tensor) -> None:
        """Record numbers; exported as the mean over all records at `key` and their number at `key__count`."""
        for key, value in values.items():
            self._record(key, ReduceType.SCALAR, reduce_group, _number(value), 1.0)

    def counter(self, *, reduce_group: ProcessGroup | None = None, **values: float | Tensor) -> None:
        """Record increments; exported as their sum (use this to count events)."""
        for key, value in values.items():
            self._record(key, ReduceType.COUNTER, reduce_group, _number(value), 1.0)

    def denominator(self, *, reduce_group: ProcessGroup | None = None, **masks: Tensor) -> None:
        """Record bool masks that later `stat` calls average over; exported as the number of true elements.

        Raises `ValueError` for anything but a non-empty bool tensor.
        """
        for key, mask in masks.items():
            if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool or mask.numel() == 0:
                raise ValueError(f"denominator {key!r} must be a non-empty bool tensor, got {_describe(mask)}")
            mask = mask.detach().clone()  # the caller may change its own in place
            # Count 1 a record: unlike a statistic, a denominator that is all false is exported, as 0.
            self._record(key, ReduceType.SUM, reduce_group, mask.sum(dtype=torch.float64), 1.0)
            with self._lock:
                self._masks[self._full_key(key)] = mask

    def stat(
        self,
        denominator: str,
        reduce_type: ReduceType | None = None,
        *,
        reduce_group: ProcessGroup | None = None,
        **values: Tensor,
    ) -> None:
        """Record float32 tensors, reduced over the elements where the latest mask of `denominator` (same scope) is true.

        avg = Σ where(mask, v, 0) / Σ mask over all records and ranks. Masked-out elements may be anything, also NaN.
        Raises `ValueError` for a missing denominator, another shape than its latest mask, or a non-float32 tensor.
        """
        reduce_type = reduce_type or ReduceType.AVG_MIN_MAX
        if reduce_type not in _STAT_TYPES:
            raise ValueError(f"reduce_type {reduce_type} is for scalar()/counter(), not for stat()")
        name = self._full_key(denominator)
        with self._lock:
            mask = self._masks.get(name)
        if mask is None:
            raise ValueError(
                f"denominator {name!r} is not recorded in this step: call denominator({denominator}=mask) first"
            )
        for key, value in values.items():
            if not isinstance(value, torch.Tensor) or value.dtype != torch.float32 or value.numel() == 0:
                raise ValueError(f"stat {key!r} must be a non-empty float32 tensor, got {_describe(value)}")
            if value.shape != mask.shape:
                raise ValueError(
                    f"stat {key!r} has shape {tuple(value.shape)}, its denominator {name!r} was last recorded with "
                    f"{tuple(mask.shape)}; record the denominator of these tensors first"
                )
            value = value.detach()
            total, count = value.where(mask, 0.0).sum(dtype=torch.float64), mask.sum(dtype=torch.float64)
            if reduce_type in _BOUNDED_TYPES:
                low, high = value.where(mask, math.inf).amin(), value.where(mask, -math.inf).amax()
                self._record(key, reduce_type, reduce_group, total, count, low, high)
            else:
                self._record(key, reduce_type, reduce_group, total, count)

    @contextlib.contextmanager
    def record_timing(self, key: str) -> Iterator[None]:
        """Record the wall seconds of the block as scalar `timeperf/{key}`, whatever the scope; also when it raises."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self.disable_scope():
                self.scalar(**{f"timeperf/{key}": time.perf_counter() - start})

    def export(
        self,
        key: str | None = None,
        reduce_group: ProcessGroup | None = None,
        key_sync_group: ProcessGroup | None = None,
        reset: bool = True,
    ) -> dict[str, float]:
        """The numbers of all keys (or of `key` and what lies below it), over the ranks of `reduce_group` or this one alone.

        With a group this is a collective that every one of its ranks must join; ranks without a record of some key
        take part. `reset` forgets what was exported. Raises `ValueError` on all ranks when they disagree on a reduce type.
        """
        return _reduce(self.pop(key, reset), reduce_group, key_sync_group)

    def pop(self, key: str | None = None, reset: bool = True) -> dict[str, _Entry]:
        """The local records on the host, by full key; for `export` and `export_all`."""
        prefix = None if key is None else self._full_key(key)

        def is_wanted(name: str) -> bool:
            return prefix is None or name == prefix or name.startswith(f"{prefix}/")

        with self._lock:
            wanted = {name: entry for name, entry in self._entries.items() if is_wanted(name)}
            if reset:
                self._entries = {name: entry for name, entry in self._entries.items() if name not in wanted}
                self._masks = {name: mask for name, mask in self._masks.items() if not is_wanted(name)}
            return {name: entry.to_host() for name, entry in wanted.items()}

    def _full_key(self, key: str) -> str:
        return "/".join(part for part in (self.name, *self._scopes.get(), key) if part)

    def _record(
        self, key: str, reduce_type: ReduceType, reduce_group: ProcessGroup | None, *amounts: Tensor | float
    ) -> None:
        name = self._full_key(key)
        ranks = None if reduce_group is None else _ranks_of(reduce_group)
        with self._lock:
            entry = self._entries.setdefault(name, _Entry(reduce_type, ranks=ranks))
            if entry.reduce_type is not reduce_type:
                raise ValueError(f"{name!r} was recorded as {entry.reduce_type}, now as {reduce_type}; use another key")
            entry.add(*amounts)


def _reduce(
    entries: dict[str, _Entry], reduce_group: ProcessGroup | None, key_sync_group: ProcessGroup | None
) -> dict[str, float]:
    """Merge the records of all ranks with one gather of already reduced numbers, so no rank can miss a collective."""
    group = key_sync_group or reduce_group
    if group is None:
        grouped = sorted(name for name, entry in entries.items() if entry.ranks is not None)
        if grouped:
            raise RuntimeError(
                f"{grouped} were recorded with a reduce_group: export needs key_sync_group (or reduce_group)"
            )
        return _numbers_of(entries)
    import torch.distributed as dist

    gathered: list[dict[str, _Entry]] = [{} for _ in range(dist.get_world_size(group))]
    dist.all_gather_object(gathered, entries, group=group)
    by_rank = dict(zip(_ranks_of(group), gathered))
    own_rank = dist.get_rank()
    default_ranks = (own_rank,) if reduce_group is None else _ranks_of(reduce_group)
    merged: dict[str, _Entry] = {}
    for name in sorted({name for part in gathered for name in part}):
        records = {rank: part[name] for rank, part in by_rank.items() if name in part}
        types = {entry.reduce_type for entry in records.values()}
        if len(types) > 1:
            raise ValueError(f"ranks disagree on how to reduce {name!r}: {sorted(t.name for t in types)}")
        ranks = _ranks_to_merge(records, own_rank) or default_ranks
        chosen = [entry for rank, entry in records.items() if rank in ranks]
        if chosen:
            merged[name] = functools.reduce(_Entry.merged, chosen)
    return _numbers_of(merged)


def _ranks_to_merge(records: dict[int, _Entry], own_rank: int) -> tuple[int, ...] | None:
    """The reduce_group of a key's records: this rank's own one, else the first, or None when none was given."""
    groups = sorted({entry.ranks for entry in records.values() if entry.ranks is not None})
    return next((ranks for ranks in groups if own_rank in ranks), groups[0] if groups else None)


def _numbers_of(entries: dict[str, _Entry]) -> dict[str, float]:
    return {key: value for name, entry in entries.items() for key, value in entry.numbers(name).items()}


def _ranks_of(group: ProcessGroup) -> tuple[int, ...]:
    import torch.distributed as dist

    return tuple(dist.get_process_group_ranks(group))


def _number(value: float | Tensor) -> Tensor | float:
    """A float, or a 0-d float64 tensor on its own device: reading it here would wait for the device."""
    return value.detach().to(torch.float64).reshape(()) if isinstance(value, torch.Tensor) else float(value)


def _nan_aware(choose: Callable[[float, float], float], a: float, b: float) -> float:
    return math.nan if math.isnan(a) or math.isnan(b) else choose(a, b)


def _describe(value: Any) -> str:
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(type(value))


_default = DistributedStatsTracker()
_trackers: dict[str, DistributedStatsTracker] = {"": _default}
_trackers_lock = threading.Lock()

stat = _default.stat
denominator = _default.denominator
scalar = _default.scalar
counter = _default.counter
scope = _default.scope
disable_scope = _default.disable_scope
scope_func_wrapper = _default.scope_func_wrapper
record_timing = _default.record_timing
export = _default.export


def get(name: str = "") -> DistributedStatsTracker:
    """The tracker of this name, created at first use; the empty name is the one behind the module's functions."""
    name = name.strip("/")
    with _trackers_lock:
        if name not in _trackers:
            _trackers[name] = DistributedStatsTracker(name)
        return _trackers[name]


def export_all(
    reduce_group: ProcessGroup | None = None, key_sync_group: ProcessGroup | None = None, reset: bool = True
) -> dict[str, float]:
    """`export` of every tracker of this process in one collective; ranks may have different trackers."""
    with _trackers_lock:
        trackers = list(_trackers.values())
    entries: dict[str, _Entry] = {}
    for tracker in trackers:
        local = tracker.pop(reset=reset)
        duplicates = sorted(entries.keys() & local.keys())
        if duplicates:
            logger.warning("trackers record the same keys, the one named %r wins: %s", tracker.name, duplicates)
        entries.update(local)
    return _reduce(entries, reduce_group, key_sync_group)
