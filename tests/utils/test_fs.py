# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from areal.utils import fs
from areal.utils.errors import CheckpointError, ConfigError
from areal.utils.fs import hold_lock


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_atomic_directory_appears_only_when_the_body_ends(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "v1"

    with fs.AtomicDirectory(final, fsync=True) as tmp:
        assert not tmp.exists()
        tmp.mkdir()
        (tmp / "a").write_text("1")
        assert not final.exists()

    assert (final / "a").read_text() == "1"
    assert names(final.parent) == {"v1"}


def test_atomic_directory_replaces_the_old_one_whole(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with fs.AtomicDirectory(tmp_path / "v1") as tmp:
            tmp.mkdir()
            (tmp / content).touch()

    assert names(tmp_path / "v1") == {"new"}
    assert names(tmp_path) == {"v1"}


def test_atomic_directory_that_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()

    with pytest.raises(KeyError), fs.AtomicDirectory(tmp_path / "v1") as tmp:
        tmp.mkdir()
        raise KeyError("x")

    assert names(tmp_path) == {"v1"}


def test_atomic_directory_whose_writer_wrote_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="wrote nothing"), fs.AtomicDirectory(tmp_path / "v1"):
        pass


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EDQUOT, "quota"),
        RuntimeError("IoError: No space left on device (28)"),
    ],
)
def test_disk_full_becomes_a_checkpoint_error_with_needed_and_free(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(CheckpointError, match=r"expected room for 1,234 bytes, got [\d,]+ free") as caught,
        fs.AtomicDirectory(tmp_path / "v1", bytes_needed=1234) as tmp,
    ):
        tmp.mkdir()
        raise error

    assert caught.value.__cause__ is error
    assert names(tmp_path) == set()


def test_atomic_directory_refuses_before_writing_when_the_disk_is_too_small(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is full"), fs.AtomicDirectory(tmp_path / "v1", bytes_needed=2**62):
        pytest.fail("the body must not run")


def test_write_text_atomic_replaces_and_leaves_no_temporary(tmp_path: Path) -> None:
    fs.write_text_atomic(tmp_path / "LATEST", "step_1", fsync=True)
    fs.write_text_atomic(tmp_path / "LATEST", "step_2")

    assert (tmp_path / "LATEST").read_text() == "step_2"
    assert names(tmp_path) == {"LATEST"}


def test_sweep_removes_leftovers_and_nothing_else(tmp_path: Path) -> None:
    for name in ("v1.tmp-0123abcd", "v0.trash-00000000", "v2", "v3.tmp-notes", "my.tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "LATEST.tmp-89abcdef").touch()

    removed = fs.sweep(tmp_path)

    assert removed == ["LATEST.tmp-89abcdef", "v0.trash-00000000", "v1.tmp-0123abcd"]
    assert names(tmp_path) == {"v2", "v3.tmp-notes", "my.tmp"}
    assert fs.sweep(tmp_path / "absent") == []


def test_prune_keeps_the_most_recently_written(tmp_path: Path) -> None:
    for position, name in enumerate(("step_9", "step_1", "step_2")):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (1000 + position, 1000 + position))

    removed = fs.prune(tmp_path.iterdir(), keep_last=2)

    assert [path.name for path in removed] == ["step_9"]
    assert names(tmp_path) == {"step_1", "step_2"}
    assert fs.prune(tmp_path.iterdir(), keep_last=None) == []


def test_tree_and_free_bytes(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_bytes(b"12345")

    assert fs.tree_bytes(tmp_path) == 5
    assert fs.tree_bytes(tmp_path / "absent") == 0
    assert fs.free_bytes(tmp_path / "absent" / "deeper") > 0
    fs.remove_tree(tmp_path / "absent")


HOLDER = """
import subprocess, sys
from pathlib import Path
from areal.utils.fs import hold_lock
with hold_lock(Path(sys.argv[1])):
    child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    print(child.pid, flush=True)
    child.wait()
"""


def test_hold_lock_is_refused_while_another_process_lives_and_free_at_its_kill(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        child_pid = int(holder.stdout.readline())

        with (
            pytest.raises(ConfigError, match=rf"process {holder.pid} works in it; .* another trial_name"),
            hold_lock(path),
        ):
            pass
        holder.kill()
        holder.wait()

        with hold_lock(path):  # though its child lives on
            assert path.read_text() == f"{os.getpid()}\n"
        os.kill(child_pid, signal.SIGKILL)
    with hold_lock(path):
        pass
