# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Weight sync over disk: the trainer's weights become version n on every inference server, or stay n-1 on all.

    prepare   ranks write root/v{n} (temporary name, then rename); its header index must equal that of the last version
    commit    the rollout client freezes the servers, loads, compares checksums, labels, thaws
    retire    versions nobody needs any more are removed

The trainer calls `push(n)` after an update; the server supervisor asks `latest()` when it restarts a server. A failure in
prepare reaches no server. Pushing the same version again is free. The client alone talks to servers, never this module.
"""

from __future__ import annotations

import concurrent.futures
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from areal.api.io_struct import WeightUpdateMeta
from areal.utils.checkpoint_dir import WeightIndex, index_differences, read_index
from areal.utils.errors import CheckpointError, DeadlineExceeded, InfraError
from areal.utils.fs import remove_tree, sweep, tree_bytes
from areal.utils.logging import getLogger

logger = getLogger("weight_sync")

_VERSION_NAME = re.compile(r"v(\d+)")
_SHOWN_DIFFERENCES = 5
READER_GRACE_S = 600.0
"""So long a version stays that `latest()` named: a server that was started with it may still be reading (minutes if large)."""
_MODEL_FILES = ("config.json", "generation_config.json")  # what a server needs beside weights to start from a version

ExportWeights = Callable[[str], Mapping[str, Any]]
"""`export(path)` has the actor's ranks write `path` atomically (`write_weights`); returns rank 0's checksum and index."""


class WeightReceiver(Protocol):
    """The part of an `InferenceEngine` that weight sync needs."""

    def update_weights_from_disk(self, meta: WeightUpdateMeta) -> Future[Any]:
        """Freeze every server, load `meta.path`, compare with `meta.checksum`, label the version, thaw."""
        ...


@dataclass(frozen=True, kw_only=True)
class SyncReport:
    """One committed version. `write_s` does not stop generation; `load_s` is freeze to thaw as the trainer waits for it."""

    version: int
    path: str
    checksum: str
    num_bytes: int
    write_s: float
    load_s: float


class DiskWeightSync:
    """Pushes versions through directories below `root`, which this object owns: version directories of an earlier run go.

    `initial` is the (path, version) that the servers were started with; a server can start from a pushed version as well,
    since the model's configuration is copied beside the weights. `keep_versions` newest ones stay on disk, and those that
    a server may be starting with.
    """

    def __init__(
        self,
        export: ExportWeights,
        rollout: WeightReceiver,
        root: str | Path,
        *,
        initial: tuple[str, int],
        keep_versions: int = 2,
        deadline_s: float = 600.0,
    ) -> None:
        if keep_versions < 1:
            raise ValueError(f"keep_versions is at least 1 (the servers' own), got {keep_versions}")
        self._export = export
        self._rollout = rollout
        self._root = Path(root)
        self._keep_versions = keep_versions
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._latest = initial
        self._named_s: dict[Path, float] = {}  # when `latest` gave out a path
        self._model_dir = Path(initial[0])
        self._last_report: SyncReport | None = None
        self._index: WeightIndex | None = None
        self._remove_versions(keep_from=None)
        sweep(self._root)

    def latest(self) -> tuple[str, int]:
        """(path, version) that servers have or should have; thread-safe."""
        with self._lock:
            self._named_s[Path(self._latest[0])] = time.monotonic()
            return self._latest

    def push(self, version: int) -> SyncReport:
        """Make the actor's present weights version `version` on all servers; blocks until they generate with it.

        Raises `CheckpointError` (nothing was told to servers) when the weights cannot be written or have other names, shapes
        or dtypes than the last version, and `InfraError` when the servers do not take them; `latest()` then stays.
        """
        latest_version = self._latest[1]  # no other thread changes it
        if self._last_report is not None and version == latest_version:
            return self._last_report
        if version <= latest_version:
            raise ValueError(f"expected a version above {latest_version}, which the servers have; got {version}")
        path = self._root / f"v{version}"
        started_s = time.monotonic()
        written = self._prepare(path)
        prepared_s = time.monotonic()
        self._commit(WeightUpdateMeta(path=str(path), version=version, checksum=written["checksum"]))
        report = SyncReport(
            version=version,
            path=str(path),
            checksum=written["checksum"],
            num_bytes=tree_bytes(path),
            write_s=prepared_s - started_s,
            load_s=time.monotonic() - prepared_s,
        )
        with self._lock:
            self._latest = (str(path), version)
        self._last_report = report
        self._remove_versions(keep_from=version)
        return report

    def _prepare(self, path: Path) -> Mapping[str, Any]:
        written = self._export(str(path))
        index = read_index(path)  # what really lies on the disk, not what the writer meant to write
        problems = index_differences(written["index"], index)
        if self._index is not None:
            problems += index_differences(self._index, index)
        if problems:
            remove_tree(path)
            shown = "; ".join(problems[:_SHOWN_DIFFERENCES])
            more = len(problems) - _SHOWN_DIFFERENCES
            raise CheckpointError(
                f"the weights in {path} do not match the previous version, so no server was told: {shown}"
                f"{f' and {more} more' if more > 0 else ''}. The model must not change its parameters during a run"
            )
        self._index = index
        for name in _MODEL_FILES:
            if (self._model_dir / name).is_file():
                shutil.copy(self._model_dir / name, path / name)
        return written

    def _commit(self, meta: WeightUpdateMeta) -> None:
        future = self._rollout.update_weights_from_disk(meta)
        try:
            future.result(self._deadline_s)
        except concurrent.futures.TimeoutError as error:
            if future.done():
                raise  # the client's own, not ours
            raise DeadlineExceeded(
                f"the trainer waits for the inference servers to load version {meta.version} from {meta.path}, for more than "
                f"{self._deadline_s:g} s; see the logs of the servers"
            ) from error
        except InfraError:
            logger.error("version %d was not taken by the servers; %s stays for reading", meta.version, meta.path)
            raise

    def _remove_versions(self, keep_from: int | None) -> None:
        """Remove old version directories: all but the newest `keep_versions` up to `keep_from`, or all of them."""
        if not self._root.is_dir():
            return
        with self._lock:
            oldest_s = time.monotonic() - READER_GRACE_S
            in_use = {path for path, named_s in self._named_s.items() if named_s > oldest_s}
        for path in self._root.iterdir():
            match = _VERSION_NAME.fullmatch(path.name)
            if not match or path in in_use:
                continue
            if keep_from is None or int(match[1]) <= keep_from - self._keep_versions:
                remove_tree(path)
