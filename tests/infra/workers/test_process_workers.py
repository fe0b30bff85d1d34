# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What only a group of processes can do: die, leave orphans, hold the GIL, meet in a rendezvous."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from areal.infra.workers import ProcessWorkers, conductor, fork_server
from areal.utils.errors import DeadlineExceeded, InfraError, WorkerDied

TOY = "tests.infra.workers.toys:Toy"


@pytest.fixture
def group(tmp_path: Path) -> Iterator[ProcessWorkers]:
    with ProcessWorkers(TOY, 2, env={"MARK": "here"}, deadline_s=20.0, name="actor", log_dir=tmp_path) as workers:
        yield workers


def wait_until_gone(pids: list[int], deadline_s: float = 10.0) -> list[int]:
    """Pids still running (zombies do not run) at the deadline."""
    give_up_s = time.monotonic() + deadline_s
    while time.monotonic() < give_up_s:
        pids = [pid for pid in pids if psutil.pid_exists(pid) and _runs(pid)]
        if not pids:
            return []
        time.sleep(0.02)
    return pids


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_workers_have_the_rendezvous_variables_and_the_given_environment(group: ProcessWorkers) -> None:
    envs = group.call_all("rank_env")

    assert [env["RANK"] for env in envs] == [env["LOCAL_RANK"] for env in envs] == ["0", "1"]
    assert {env["WORLD_SIZE"] for env in envs} == {"2"}
    assert {env["MASTER_ADDR"] for env in envs} == {"127.0.0.1"}
    assert {env["MARK"] for env in envs} == {"here"}
    assert len({env["MASTER_PORT"] for env in envs}) == 1


def test_methods_run_on_the_main_thread_of_separate_processes(group: ProcessWorkers) -> None:
    pids = group.call_all("pid")

    assert len({*pids, os.getpid()}) == 3
    assert group.call_all("on_main_thread") == [True, True]
    assert [worker.pid for worker in group.health()] == pids


def test_two_groups_meet_in_their_own_rendezvous(group: ProcessWorkers, tmp_path: Path) -> None:
    with ProcessWorkers(TOY, 2, name="ref", log_dir=tmp_path) as other:
        totals = group.call_all_async("all_reduce"), other.call_all_async("all_reduce")

        assert [future.result(20) for future in totals] == [[3.0, 3.0], [3.0, 3.0]]


def test_master_port_is_held_for_rank_0_alone(group: ProcessWorkers) -> None:
    port = int(group.call_rank(0, "rank_env")["MASTER_PORT"])

    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind(("127.0.0.1", port))


def test_autograd_and_optimizers_work_in_forked_workers(group: ProcessWorkers) -> None:
    torch.ones(2, requires_grad=True).sum().backward()  # autograd threads in the controller must not matter

    assert group.call_all("train_step") == [64.0, 64.0]


def test_output_goes_to_the_log_of_the_rank(group: ProcessWorkers, tmp_path: Path) -> None:
    group.call_each("say", [("zero speaks",), ("one speaks",)])

    assert "zero speaks" in (tmp_path / "actor-0.log").read_text()
    assert "one speaks" in (tmp_path / "actor-1.log").read_text()


def test_view_of_a_large_tensor_sends_only_the_view() -> None:
    from areal.infra.workers import wire

    frame = wire.encode(torch.zeros(1_000_000)[:10])

    assert sum(len(part) for part in frame) < 1000


def test_parameter_arrives_as_plain_tensor(group: ProcessWorkers) -> None:
    parameter = torch.nn.Parameter(torch.ones(2, 3))

    assert group.call_rank(0, "tensor_facts", parameter) == ((2, 3), "torch.float32", 6.0, False)


def test_large_answers_of_all_ranks_arrive(group: ProcessWorkers) -> None:
    sent = [torch.full((2_000_000,), float(rank)) for rank in range(2)]

    echoed = group.call_each("echo", [(tensor,) for tensor in sent])

    assert all(torch.equal(a, b) for a, b in zip(sent, echoed, strict=True))


def test_remote_traceback_is_attached_as_a_note(group: ProcessWorkers) -> None:
    with pytest.raises(ValueError, match="wrong") as caught:
        group.call_rank(1, "raise_value_error")

    (note,) = caught.value.__notes__
    assert "raised in worker 1" in note
    assert "toys.py" in note


def test_exception_that_does_not_unpickle_arrives_as_text(group: ProcessWorkers) -> None:
    with pytest.raises(InfraError, match=r"(?s)PicklesOnly: first words.*does not pickle"):
        group.call_rank(0, "raise_pickles_only")
    assert group.call_all("add", 1) == [1, 1]


def test_broken_pipe_of_the_method_is_an_error_like_any_other(group: ProcessWorkers) -> None:
    with pytest.raises(BrokenPipeError, match="the user's own"):
        group.call_rank(0, "raise_broken_pipe")
    assert group.call_all("add", 1) == [1, 1]


def test_result_that_does_not_pickle_is_an_error_and_the_group_goes_on(group: ProcessWorkers) -> None:
    with pytest.raises(TypeError, match="pickle"):
        group.call_rank(0, "return_unpicklable")
    assert group.call_all("add", 1) == [1, 1]


def test_argument_that_does_not_pickle_is_refused_in_the_caller(group: ProcessWorkers) -> None:
    with pytest.raises(TypeError, match="pickle"):
        group.call_all("echo", socket.socket())
    assert group.call_all("add", 1) == [1, 1]


@pytest.mark.parametrize(
    ("method", "argument", "expected"),
    [
        ("log_and_kill_self", signal.SIGKILL, r"signal SIGKILL \(9\)(?s:.*)memory(?s:.*)the last words of the worker"),
        ("log_and_kill_self", signal.SIGSEGV, r"signal SIGSEGV \(11\)(?s:.*)Segmentation fault"),
        ("log_and_exit", 3, r"exit code 3(?s:.*)leaving"),
    ],
    ids=["killed", "segfault", "exit"],
)
def test_death_names_rank_cause_method_and_last_lines_and_fails_the_waiting_peers(
    group: ProcessWorkers, method: str, argument: int, expected: str
) -> None:
    peer = group.call_rank_async(0, "sleep", 600.0)

    with pytest.raises(WorkerDied, match=rf"worker actor-1 \(pid \d+\), running '{method}'(?s:.*){expected}"):
        group.call_rank(1, method, argument)
    with pytest.raises(WorkerDied, match="actor-1"):
        peer.result(5)


def test_death_of_an_idle_worker_fails_the_next_call(group: ProcessWorkers) -> None:
    os.kill(group.call_rank(1, "pid"), signal.SIGKILL)
    while group.health()[1].alive:
        pass

    with pytest.raises(WorkerDied, match=r"(?s)worker actor-1 \(pid \d+\), idle, ended with signal SIGKILL"):
        group.call_all("add", 1)


def test_death_in_the_factory_is_raised_by_the_constructor(tmp_path: Path) -> None:
    with pytest.raises(WorkerDied, match=r"worker-1 .*running 'its factory'.* ended with exit code 7"):
        ProcessWorkers("tests.infra.workers.toys:rank_one_dies", 2, ("x",), log_dir=tmp_path)


def test_stack_of_a_worker_that_holds_the_gil_is_in_the_deadline_message(tmp_path: Path) -> None:
    with ProcessWorkers(TOY, 2, deadline_s=0.5, log_dir=tmp_path) as group:
        with pytest.raises(DeadlineExceeded, match=r"2 of 2 workers") as caught:
            group.call_all("sleep_holding_the_gil", 600)
        pids = [worker.pid for worker in group.health()]

    assert str(caught.value).count("in sleep_holding_the_gil") == 2
    assert wait_until_gone(pids) == []


def test_rank_that_raises_while_its_peers_hang_stops_the_group_after_a_grace(
    group: ProcessWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conductor, "PEER_GRACE_S", 0.3)

    with pytest.raises(ValueError, match="rank 0 has bad data") as caught:
        group.call_all("rank_0_raises_others_hang")

    assert any("ranks [1] did not answer" in note and "toys.py" in note for note in caught.value.__notes__)
    with pytest.raises(DeadlineExceeded):
        group.call_all("add", 1)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_close_leaves_no_process_behind(group: ProcessWorkers, busy: bool) -> None:
    children = [group.call_rank(0, "start_child", False), group.call_rank(1, "start_child", True)]
    pids = group.call_all("pid") + children
    if busy:
        group.call_all_async("sleep_holding_the_gil", 600)

    group.close()

    assert wait_until_gone(pids) == []


def test_children_of_a_worker_that_died_are_killed(group: ProcessWorkers) -> None:
    child = group.call_rank(0, "start_child", True)

    with pytest.raises(WorkerDied):
        group.call_rank(0, "log_and_kill_self", signal.SIGKILL)

    assert wait_until_gone([child]) == []


@pytest.mark.parametrize("how", ["controller_killed", "fork_server_killed"])
def test_busy_workers_and_their_children_end_with_the_controller_or_its_fork_server(tmp_path: Path, how: str) -> None:
    pid_file = tmp_path / "pids"
    controller = subprocess.Popen([sys.executable, "-m", "tests.infra.workers.toys", str(pid_file)])
    give_up_s = time.monotonic() + 60
    while not pid_file.exists() and time.monotonic() < give_up_s:
        time.sleep(0.02)
    *pids, holder = [int(pid) for pid in pid_file.read_text().split()]
    (server,) = [child for child in psutil.Process(controller.pid).children() if child.pid != holder]

    try:
        if how == "controller_killed":
            controller.kill()
            assert wait_until_gone([*pids, server.pid]) == []
        else:
            server.kill()
            assert wait_until_gone(pids[:2]) == []
            assert controller.wait(20) == 1, "the controller must stop with WorkerDied, not hang"
    finally:
        # nobody adopts the workers' children when the fork server itself is killed
        for leftover in (controller.pid, holder, *pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(leftover, signal.SIGKILL)
    controller.wait(10)


def test_new_group_starts_after_the_fork_server_died(tmp_path: Path) -> None:
    os.kill(fork_server.ForkServer.shared().pid, signal.SIGKILL)
    fork_server.ForkServer.shared()._process.wait(10)

    with ProcessWorkers(TOY, 1, log_dir=tmp_path) as group:
        assert group.call_all("add", 1) == [1]


def test_group_of_zero_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one worker"):
        ProcessWorkers(TOY, 0)


def test_no_descriptor_leaks_over_many_groups(tmp_path: Path) -> None:
    with ProcessWorkers(TOY, 1, log_dir=tmp_path) as first:
        first.call_all("pid")
    before = psutil.Process().num_fds()

    for _ in range(10):
        with ProcessWorkers(TOY, 2, log_dir=tmp_path) as group:
            group.call_all("pid")

    assert psutil.Process().num_fds() <= before
