# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import multiprocessing
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from areal.api.cli_args import RecoverConfig
from areal.api.io_struct import FinetuneSpec, StepInfo
from areal.infra.workers import ProcessWorkers
from areal.utils import recover
from areal.utils.errors import CheckpointError, ConfigError
from areal.utils.recover import RecoverHandler, check_if_recover, recover_root

FT_SPEC = FinetuneSpec(total_train_epochs=5, dataset_size=40, train_batch_size=10)  # 4 steps an epoch


class Part:
    """A controller part that counts steps."""

    def __init__(self) -> None:
        self.count = 0
        self.extra: Any = None

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "extra": self.extra}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]
        self.extra = state["extra"]


class Role:
    """A role whose whole state is one number in a file."""

    def __init__(self) -> None:
        self.value = 0

    def save_state(self, path: str) -> None:
        Path(path).mkdir()
        Path(path, "value").write_text(str(self.value))

    def load_state(self, path: str) -> None:
        self.value = int(Path(path, "value").read_text())


class Run:
    """The recoverable half of a trainer."""

    def __init__(self, root: Path, **config: Any) -> None:
        settings = {"mode": "auto", "freq_steps": 1, "experiment_name": "exp", "trial_name": "t0"} | config
        fingerprint = settings.pop("fingerprint", {"model": "tiny", "seed": 1})
        self.config = RecoverConfig(fileroot=str(root), **settings)
        self.handler = RecoverHandler(self.config, FT_SPEC, fingerprint)
        self.actor, self.critic = Role(), Role()
        self.data, self.stats = Part(), Part()

    def step(self, global_step: int, **kwargs: Any) -> Path | None:
        self.actor.value = self.critic.value = self.data.count = self.stats.count = global_step
        info = StepInfo(global_step // 4, global_step % 4, global_step, 4)
        roles = {"actor": self.actor.save_state, "critic": self.critic.save_state}
        parts = {"dataloader": self.data, "stats_logger": self.stats}
        return self.handler.dump(info, roles=roles, parts=parts, versions={"actor": global_step + 1}, **kwargs)

    def load(self) -> recover.RecoverInfo | None:
        roles = {"actor": self.actor.load_state, "critic": self.critic.load_state}
        return self.handler.load(roles=roles, parts={"dataloader": self.data, "stats_logger": self.stats})

    @property
    def root(self) -> Path:
        return recover_root(self.config)

    def names(self) -> set[str]:
        return {entry.name for entry in self.root.iterdir()}

    def values(self) -> set[int]:
        return {self.actor.value, self.critic.value, self.data.count, self.stats.count}


def test_load_restores_roles_parts_step_and_versions(tmp_path: Path) -> None:
    first = Run(tmp_path)
    for step in range(4):
        first.step(step)
    second = Run(tmp_path)

    info = second.load()

    assert info is not None
    assert StepInfo(**info.last_step_info) == StepInfo(0, 3, 3, 4)
    assert StepInfo(**info.last_step_info).next().global_step == info.start_step == 4
    assert info.versions == {"actor": 4}
    assert info.skipped == ()
    assert second.values() == {3}


def test_keep_last_checkpoints_remain_and_latest_names_the_newest(tmp_path: Path) -> None:
    run = Run(tmp_path, keep_last=2)
    for step in range(5):
        run.step(step)

    assert run.names() == {"step_3", "step_4", "LATEST"}
    assert (run.root / "LATEST").read_text() == "step_4"


def test_dump_fires_by_frequency_and_by_force(tmp_path: Path) -> None:
    run = Run(tmp_path, freq_steps=3)

    assert [step for step in range(7) if run.step(step)] == [2, 5]
    assert run.step(7, force=True) is not None


def test_newest_step_is_the_one_that_would_be_resumed(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.handler.newest_step() is None
    for step in range(3):
        run.step(step)
    assert Run(tmp_path).handler.newest_step() == 2
    (run.root / "LATEST").write_text("step_1")
    assert run.handler.newest_step() == 1
    assert Run(tmp_path, mode="off").handler.newest_step() is None


@pytest.mark.parametrize("mode", ["off", "disabled"])
def test_disabled_mode_neither_dumps_nor_loads(tmp_path: Path, mode: str) -> None:
    Run(tmp_path).step(0)
    run = Run(tmp_path, mode=mode)

    assert run.step(1, force=True) is None
    assert run.load() is None
    assert not check_if_recover(run.config)


def test_nothing_to_resume_is_none_and_creates_no_directory(tmp_path: Path) -> None:
    run = Run(tmp_path)

    assert not check_if_recover(run.config)
    assert run.load() is None
    assert list(tmp_path.iterdir()) == []


def test_random_states_of_the_controller_continue(tmp_path: Path) -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), torch.rand(()).item()

    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    draw()
    Run(tmp_path).step(0)
    expected = draw()
    random.seed(9), np.random.seed(9), torch.manual_seed(9)

    Run(tmp_path).load()

    assert draw() == expected


def test_progress_of_the_frequency_continues_but_the_frequency_is_the_configs(tmp_path: Path) -> None:
    first = Run(tmp_path, freq_steps=3)
    for step in range(3):
        first.step(step)
    first.step(3, force=True)
    second = Run(tmp_path, freq_steps=2)
    second.load()

    assert [step for step in range(4, 8) if second.step(step)] == [4, 6]


def damage_truncate(path: Path) -> None:
    file = path / "roles" / "actor" / "value"
    file.write_text("")


def damage_flip(path: Path) -> None:
    (path / "roles" / "critic" / "value").write_text("7")


def damage_delete(path: Path) -> None:
    (path / "state.json").unlink()


def damage_manifest(path: Path) -> None:
    (path / "MANIFEST.json").write_text('{"format"')


def damage_format(path: Path) -> None:
    (path / "MANIFEST.json").write_text('{"format": 999, "files": {}}')


@pytest.mark.parametrize("damage", [damage_truncate, damage_flip, damage_delete, damage_manifest, damage_format])
def test_damaged_latest_falls_back_to_the_previous_and_says_why(tmp_path: Path, damage: Any) -> None:
    run = Run(tmp_path)
    for step in range(3):
        run.step(step)
    damage(run.root / "step_2")
    second = Run(tmp_path)

    assert check_if_recover(second.config)
    info = second.load()

    assert info is not None
    assert info.start_step == 2
    assert second.values() == {1}
    assert len(info.skipped) == 1
    assert info.skipped[0].startswith("step_2: ")
    assert second.names() == {"step_1", "LATEST"}, "the damaged one must not outlive the resume"
    second.step(2)
    assert second.names() == {"step_1", "step_2", "LATEST"}


def test_all_checkpoints_damaged_is_an_error_not_a_fresh_start(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.step(0)
    damage_delete(run.root / "step_0")

    assert not check_if_recover(run.config)
    with pytest.raises(CheckpointError, match=r"cannot resume.*step_0: state\.json is missing"):
        Run(tmp_path).load()


def test_large_files_are_checked_at_both_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recover, "_FULL_CRC_BYTES", 10)
    monkeypatch.setattr(recover, "_END_BYTES", 4)
    (tmp_path / "big").write_bytes(b"head" + b"." * 20 + b"tail")
    before = recover._crc(tmp_path / "big")

    (tmp_path / "big").write_bytes(b"head" + b"." * 20 + b"tajl")
    assert recover._crc(tmp_path / "big") != before
    (tmp_path / "big").write_bytes(b"haed" + b"." * 20 + b"tail")
    assert recover._crc(tmp_path / "big") != before


def test_complete_checkpoint_that_was_not_published_gives_way_to_latest(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.step(0)
    run.step(1)
    (run.root / "LATEST").write_text("step_0")  # as if killed between the two renames
    second = Run(tmp_path)

    info = second.load()

    assert info is not None
    assert info.start_step == 1
    assert second.names() == {"step_0", "LATEST"}


def test_missing_latest_file_means_the_newest_complete_one(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.step(0)
    run.step(1)
    (run.root / "LATEST").unlink()

    info = Run(tmp_path).load()

    assert info is not None
    assert info.start_step == 2


def test_dump_at_a_step_that_exists_replaces_it(tmp_path: Path) -> None:
    Run(tmp_path).step(1)
    second = Run(tmp_path)
    second.data.extra = "second"
    second.step(1)
    third = Run(tmp_path)
    third.load()

    assert third.data.extra == "second"


def test_run_started_over_keeps_its_own_checkpoints_although_its_steps_are_lower(tmp_path: Path) -> None:
    first = Run(tmp_path)
    first.step(100)
    first.step(101)
    second = Run(tmp_path)  # does not load

    second.step(0)

    assert second.names() == {"step_0", "step_101", "LATEST"}
    info = Run(tmp_path).load()
    assert info is not None
    assert info.start_step == 1


def test_other_fingerprint_is_refused_with_both_values(tmp_path: Path) -> None:
    Run(tmp_path).step(0)
    other = Run(tmp_path, fingerprint={"model": "tiny", "seed": 2})

    with pytest.raises(ConfigError, match=r"seed: expected 1 \(checkpoint\), got 2 \(this run\)"):
        other.load()
    assert other.values() == {0}
    assert other.names() == {"step_0", "LATEST"}


def test_other_set_of_roles_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.step(0)

    with pytest.raises(ConfigError, match=r"roles: expected \['actor', 'critic'\] \(checkpoint\), got \['actor'\]"):
        Run(tmp_path).handler.load(
            roles={"actor": run.actor.load_state}, parts={"dataloader": run.data, "stats_logger": run.stats}
        )


@pytest.mark.parametrize(
    ("extra", "where"),
    [({1: "int key"}, r"parts\.dataloader\.extra has the key 1"), ({"a": [b"x"]}, r"extra\.a\[0\] is a bytes")],
)
def test_state_that_json_would_change_is_refused_and_named(tmp_path: Path, extra: Any, where: str) -> None:
    run = Run(tmp_path)
    run.step(0)
    run.data.extra = extra

    with pytest.raises(CheckpointError, match=where):
        run.step(1)
    assert run.names() == {"step_0", "LATEST"}


def test_disk_full_in_a_role_keeps_the_previous_checkpoint_and_cleans_up(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.step(0)

    def fill(path: str) -> None:
        Path(path).write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match=r"is full; expected room for [\d,]+ bytes, got [\d,]+ free"):
        run.handler.dump(StepInfo(0, 1, 1, 4), roles={"actor": fill}, parts={}, versions={}, force=True)
    assert run.names() == {"step_0", "LATEST"}
    second = Run(tmp_path)
    assert second.load() is not None


def test_dump_that_will_not_fit_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    run.step(0)
    monkeypatch.setattr("areal.utils.fs.free_bytes", lambda path: 10)

    with pytest.raises(CheckpointError, match="got 10 free"):
        run.step(1)
    assert run.names() == {"step_0", "LATEST"}


def test_leftovers_of_a_killed_dump_are_removed_by_the_next(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.step(0)
    (run.root / "step_1.tmp-0123abcd" / "roles").mkdir(parents=True)

    run.step(1)

    assert run.names() == {"step_0", "step_1", "LATEST"}


def dump_forever(root: Path, report: Any) -> None:
    run = Run(root)
    info = run.load()
    for step in range(info.start_step if info else 0, 10**9):
        run.step(step)
        report.send(step)


def test_kill_at_any_point_of_a_dump_leaves_the_old_or_the_new_state(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")  # 25 fresh processes within seconds; the child only writes files
    rng = random.Random(0)
    finished = -1
    for _ in range(25):
        reader, writer = context.Pipe(duplex=False)
        child = context.Process(target=dump_forever, args=(tmp_path, writer))
        child.start()
        writer.close()
        finished = max(finished, reader.recv())  # it has resumed and dumps now
        time.sleep(rng.uniform(0.0, 0.03))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        while reader.poll():
            try:
                finished = max(finished, reader.recv())
            except EOFError:
                break

        survivor = Run(tmp_path)
        info = survivor.load()

        assert info is not None
        assert info.skipped == (), "nothing published may be damaged"
        assert info.start_step - 1 in (finished, finished + 1), "at most the dump under way is new"
        assert survivor.values() == {info.start_step - 1} == {info.versions["actor"] - 1}
        finished = info.start_step - 1


def _sharded_state(value: float) -> dict[str, Any]:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    return {"weight": distribute_tensor(torch.full((8, 2), value), mesh, [Shard(0)])}


class DcpWorker:
    def __init__(self) -> None:
        dist.init_process_group("gloo")
        self.state = _sharded_state(0.0)

    def set(self, value: float) -> None:
        self.state = _sharded_state(value)

    def save_state(self, path: str) -> None:
        dcp.save(self.state, checkpoint_id=path)

    def load_state(self, path: str) -> None:
        dcp.load(self.state, checkpoint_id=path)

    def total(self) -> float:
        return float(self.state["weight"].full_tensor().sum())


def test_role_resumes_in_another_world_size(tmp_path: Path) -> None:
    config = Run(tmp_path).config
    for world_size in (2, 1, 3):
        with ProcessWorkers("tests.utils.test_recover:DcpWorker", world_size, log_dir=tmp_path / "logs") as actor:
            handler = RecoverHandler(config, FT_SPEC)
            info = handler.load(roles={"actor": lambda path, a=actor: a.call_all("load_state", path)}, parts={})
            expected = 0.0 if info is None else 16.0 * info.start_step
            assert actor.call_all("total") == [expected] * world_size
            step = 0 if info is None else info.start_step
            actor.call_all("set", step + 1.0)
            handler.dump(
                StepInfo(0, step, step, 4),
                roles={"actor": lambda path, a=actor: a.call_all("save_state", path)},
                parts={},
                versions={},
                force=True,
            )
