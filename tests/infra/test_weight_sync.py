# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from areal.api.io_struct import WeightUpdateMeta
from areal.infra import weight_sync
from areal.infra.weight_sync import DiskWeightSync
from areal.infra.workers import InProcessWorker, ProcessWorkers, WorkerGroup
from areal.utils.checkpoint_dir import write_weights
from areal.utils.checksum import weights_checksum
from areal.utils.errors import CheckpointError, DeadlineExceeded, InfraError

ACTOR = "tests.infra.test_weight_sync:Actor"


class Actor:
    """The writing side of a training worker; every rank takes part, rank 0 writes."""

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.weights = {"a": torch.zeros(4, 3), "b": torch.zeros(2)}

    def train(self, amount: float) -> None:
        for tensor in self.weights.values():
            tensor += amount

    def grow(self) -> None:
        self.weights["b"] = torch.zeros(5)
        self.weights["c"] = torch.zeros(1)

    def export_weights(self, path: str) -> dict[str, Any] | None:
        return write_weights(path, self.weights.items()) if self.rank == 0 else None


class Servers:
    """Inference servers that load at once, check as the native one does, and can be made to fail."""

    def __init__(self) -> None:
        self.version = 0
        self.value = 0.0
        self.loads: list[int] = []
        self.failure: Exception | None = None
        self.hangs = False

    def update_weights_from_disk(self, meta: WeightUpdateMeta) -> Future[None]:
        future: Future[None] = Future()
        if self.hangs:
            return future
        if self.failure is not None:
            future.set_exception(self.failure)
            return future
        weights = load_file(Path(meta.path) / "model.safetensors")
        assert weights_checksum(weights.items()) == meta.checksum
        self.version, self.value = meta.version, float(weights["a"][0, 0])
        self.loads.append(meta.version)
        future.set_result(None)
        return future


class Fixture:
    def __init__(self, root: Path, group: WorkerGroup, **kwargs: Any) -> None:
        self.root = root / "weights"
        self.group = group
        self.servers = Servers()
        self.model_dir = root / "base"
        self.model_dir.mkdir(exist_ok=True)
        (self.model_dir / "config.json").write_text('{"model_type": "toy"}')
        self.sync = DiskWeightSync(
            lambda path: group.call_all("export_weights", path)[0],
            self.servers,
            self.root,
            initial=(str(self.model_dir), 0),
            **kwargs,
        )

    def names(self) -> set[str]:
        return {path.name for path in self.root.iterdir()}


@pytest.fixture
def setup(tmp_path: Path) -> Fixture:
    return Fixture(tmp_path, InProcessWorker(ACTOR))


@pytest.mark.parametrize("num_workers", [0, 2], ids=["in_process", "two_processes"])
def test_push_brings_the_present_weights_to_the_servers(tmp_path: Path, num_workers: int) -> None:
    group = ProcessWorkers(ACTOR, num_workers, log_dir=tmp_path) if num_workers else InProcessWorker(ACTOR)
    with group:
        fixture = Fixture(tmp_path, group)
        group.call_all("train", 1.5)

        report = fixture.sync.push(1)

        assert (fixture.servers.version, fixture.servers.value) == (1, 1.5)
        assert (report.version, report.num_bytes > 56, report.path) == (1, True, str(fixture.root / "v1"))
        assert fixture.sync.latest() == (report.path, 1)


def test_latest_is_the_initial_model_before_the_first_push(setup: Fixture) -> None:
    assert setup.sync.latest() == (str(setup.model_dir), 0)


def test_a_server_can_start_from_a_pushed_version(setup: Fixture) -> None:
    path = setup.sync.push(1).path

    assert (Path(path) / "config.json").read_text() == '{"model_type": "toy"}'


def test_push_of_the_same_version_again_is_free(setup: Fixture) -> None:
    first = setup.sync.push(1)

    assert setup.sync.push(1) is first
    assert setup.servers.loads == [1]


def test_push_of_an_older_version_is_refused(setup: Fixture) -> None:
    setup.sync.push(3)

    with pytest.raises(ValueError, match="expected a version above 3, which the servers have; got 2"):
        setup.sync.push(2)


def test_old_versions_are_removed(setup: Fixture) -> None:
    for version in range(1, 6):
        setup.sync.push(version)

    assert setup.names() == {"v4", "v5"}


def test_version_that_a_server_starts_with_stays_until_it_must_have_been_read(
    setup: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.sync.push(1)
    setup.sync.latest()
    for version in range(2, 6):
        setup.sync.push(version)
    assert setup.names() == {"v1", "v4", "v5"}

    monkeypatch.setattr(weight_sync, "READER_GRACE_S", 0.0)
    setup.sync.push(6)

    assert setup.names() == {"v5", "v6"}


def test_directories_of_a_crashed_run_are_removed_at_the_start_and_nothing_else(tmp_path: Path) -> None:
    for name in ("v7", "v8.tmp-0123abcd", "notes", "v9x"):
        (tmp_path / "weights" / name).mkdir(parents=True)

    fixture = Fixture(tmp_path, InProcessWorker(ACTOR))

    assert fixture.names() == {"notes", "v9x"}


def test_weights_of_another_shape_reach_no_server(setup: Fixture) -> None:
    setup.sync.push(1)
    setup.group.call_all("grow")

    with pytest.raises(
        CheckpointError, match=r"c: expected nothing.*b: expected \('F32', \(2,\)\), got \('F32', \(5,\)\)"
    ):
        setup.sync.push(2)

    assert setup.servers.loads == [1]
    assert setup.sync.latest()[1] == 1
    assert setup.names() == {"v1"}


def test_writer_that_reports_other_weights_than_it_wrote_is_caught(tmp_path: Path) -> None:
    def export(path: str) -> dict[str, Any]:
        answer = write_weights(path, [("a", torch.zeros(2))])
        return answer | {"index": {"a": ("F32", (3,))}}

    servers = Servers()
    sync = DiskWeightSync(export, servers, tmp_path / "weights", initial=("base", 0))

    with pytest.raises(CheckpointError, match="do not match"):
        sync.push(1)
    assert servers.loads == []


def test_export_that_fails_leaves_the_servers_on_the_old_version(tmp_path: Path) -> None:
    def export(path: str) -> dict[str, Any]:
        raise CheckpointError("the disk is full")

    servers = Servers()
    sync = DiskWeightSync(export, servers, tmp_path / "weights", initial=("base", 0))

    with pytest.raises(CheckpointError, match="disk is full"):
        sync.push(1)
    assert (servers.loads, sync.latest()) == ([], ("base", 0))


def test_servers_that_refuse_leave_latest_and_a_second_try_succeeds(setup: Fixture) -> None:
    setup.sync.push(1)
    setup.servers.failure = InfraError("server 0: checksum differs")

    with pytest.raises(InfraError, match="checksum differs"):
        setup.sync.push(2)
    assert setup.sync.latest()[1] == 1
    setup.servers.failure = None
    setup.group.call_all("train", 1.0)

    assert setup.sync.push(2).version == 2
    assert setup.servers.value == 1.0


def test_servers_that_do_not_answer_raise_a_deadline_that_says_who_waits(tmp_path: Path) -> None:
    fixture = Fixture(tmp_path, InProcessWorker(ACTOR), deadline_s=0.1)
    fixture.servers.hangs = True

    with pytest.raises(DeadlineExceeded, match="the trainer waits for the inference servers to load version 1"):
        fixture.sync.push(1)


def test_version_after_recovery_may_start_anywhere(setup: Fixture) -> None:
    assert setup.sync.push(41).version == 41


def test_keep_versions_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        DiskWeightSync(lambda path: {}, Servers(), tmp_path, initial=("base", 0), keep_versions=0)
