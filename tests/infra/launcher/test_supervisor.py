# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from areal.api.cli_args import NativeConfig
from areal.infra.launcher import ServerCommand, ServerStart, ServerSupervisor, native_server_command, server_process
from areal.infra.launcher.supervisor import ServerState
from areal.utils.errors import DeadlineExceeded, InfraError, ServerDead
from areal.utils.process import descendants

FAKE = str(Path(__file__).parent / "fake_server.py")
Make = Callable[..., ServerSupervisor]


class Events:
    """A listener that records, and can be made to refuse restored servers."""

    def __init__(self) -> None:
        self.seen: queue.Queue[tuple[str, ...]] = queue.Queue()
        self.refusals = 0

    def lost(self, address: str, cause: str) -> None:
        self.seen.put(("lost", address, cause))

    def restored(self, old_address: str, new_address: str, version: int) -> None:
        self.seen.put(("restored", old_address, new_address, str(version)))
        if self.refusals:
            self.refusals -= 1
            raise InfraError("it does not take the weights")

    def given_up(self, failure: InfraError) -> None:
        self.seen.put(("given_up", str(failure)))

    def next(self) -> tuple[str, ...]:
        return self.seen.get(timeout=20)


class Weights:
    def __init__(self) -> None:
        self.latest = ("/models/base", 0)
        self.starts: list[ServerStart] = []
        self.behaviours: list[str] = []

    def build(self, start: ServerStart) -> ServerCommand:
        self.starts.append(start)
        behaviour = self.behaviours.pop(0) if self.behaviours else "serve"
        return ServerCommand(argv=(sys.executable, "-S", FAKE, str(start.ready_file), behaviour), env={"MARK": "fake"})


@pytest.fixture
def weights() -> Weights:
    return Weights()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def make(tmp_path: Path, weights: Weights, events: Events) -> Iterator[Make]:
    made: list[ServerSupervisor] = []

    def build(num_servers: int = 1, **kwargs: object) -> ServerSupervisor:
        settings = {"start_deadline_s": 20.0, "restart_delay_s": 0.01} | kwargs
        supervisor = ServerSupervisor(
            weights.build,
            num_servers,
            latest_weights=lambda: weights.latest,
            log_dir=tmp_path / "servers",
            listener=events,
            **settings,
        )
        made.append(supervisor)
        return supervisor

    yield build
    for supervisor in made:
        supervisor.close()
    assert descendants_named(FAKE) == []


def descendants_named(script: str) -> list[int]:
    found = []
    for pid in descendants(os.getpid()):
        try:
            if script in psutil.Process(pid).cmdline():
                found.append(pid)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def pid_of(supervisor: ServerSupervisor, index: int = 0) -> int:
    process = supervisor._servers[index].process
    assert process is not None
    return process.pid


def test_start_returns_one_address_a_server_and_logs_each(make: Make, tmp_path: Path) -> None:
    supervisor = make(3)

    addresses = supervisor.start()

    assert len(set(addresses)) == 3
    assert addresses == supervisor.addresses()
    assert supervisor.states() == [ServerState.READY] * 3
    logs = sorted(path.name for path in (tmp_path / "servers").glob("*.log"))
    assert logs == ["server-0.log", "server-1.log", "server-2.log"]
    assert "version 0, weights /models/base" in (tmp_path / "servers" / "server-2.log").read_text()
    supervisor.check()


def test_environment_of_the_command_reaches_the_server(make: Make) -> None:
    supervisor = make()
    supervisor.start()

    environ = psutil.Process(pid_of(supervisor)).environ()

    assert environ["MARK"] == "fake"
    assert environ["PATH"] == os.environ["PATH"]


def test_crash_at_the_start_raises_with_exit_code_log_and_advice_and_stops_the_others(
    make: Make, weights: Weights
) -> None:
    weights.behaviours = ["serve", "crash"]
    supervisor = make(2)

    with pytest.raises(ServerDead) as caught:
        supervisor.start()

    text = str(caught.value)
    assert "before it was ready ended with exit code 1" in text
    assert "Address already in use" in text
    assert "use port 0" in text
    assert "server-" in text
    assert descendants_named(FAKE) == []
    assert len(weights.starts) == 2, "a first start that fails is a mistake to report, not to retry"


def test_server_that_is_ready_when_another_failed_the_start_is_stopped_too(
    make: Make, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights.behaviours = ["serve", "crash"]
    supervisor = make(2)
    wait_ready = server_process.ServerProcess.wait_ready

    def ready_too_late(process: server_process.ServerProcess, deadline_s: float, stop: threading.Event) -> str:
        address = wait_ready(process, deadline_s, threading.Event())
        assert stop.wait(20), "the start that crashed closes the supervisor"
        time.sleep(0.05)  # until `close` has looked which servers are ready
        return address

    monkeypatch.setattr(server_process.ServerProcess, "wait_ready", ready_too_late)

    with pytest.raises(ServerDead, match="before it was ready"):
        supervisor.start()

    assert descendants_named(FAKE) == []


def test_command_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    supervisor = ServerSupervisor(
        lambda start: ServerCommand(argv=("no-such-program",)), 1, latest_weights=lambda: ("m", 0), log_dir=tmp_path
    )

    with pytest.raises(ServerDead, match="No such file or directory"):
        supervisor.start()


def test_builder_that_raises_fails_the_start(tmp_path: Path) -> None:
    def build(start: ServerStart) -> ServerCommand:
        raise InfraError("no executable for this kind of server")

    supervisor = ServerSupervisor(build, 1, latest_weights=lambda: ("m", 0), log_dir=tmp_path)

    with pytest.raises(InfraError, match="no executable"):
        supervisor.start()


def test_server_that_never_listens_is_killed_at_the_deadline(make: Make, weights: Weights) -> None:
    weights.behaviours = ["never_ready"]
    supervisor = make(start_deadline_s=0.5)

    with pytest.raises(DeadlineExceeded, match=r"(?s)within 0.5 s and was killed.*setup_timeout.*fake server starts"):
        supervisor.start()


def test_dead_server_is_restarted_with_the_latest_weights_and_reported(
    make: Make, weights: Weights, events: Events
) -> None:
    supervisor = make(2)
    before = supervisor.start()
    weights.latest = ("/weights/v7", 7)

    os.kill(pid_of(supervisor, 1), signal.SIGKILL)

    lost, restored = events.next(), events.next()
    assert lost[:2] == ("lost", before[1])
    assert "signal SIGKILL (9)" in lost[2]
    after = supervisor.addresses()
    assert restored == ("restored", before[1], after[1], "7")
    assert after[0] == before[0]
    assert after[1] != before[1]
    assert (weights.starts[-1].weights_path, weights.starts[-1].version) == ("/weights/v7", 7)
    supervisor.check()


def test_server_that_dies_while_restarting_is_started_once_more(make: Make, weights: Weights, events: Events) -> None:
    supervisor = make()
    supervisor.start()
    weights.behaviours = ["crash", "crash", "serve"]

    os.kill(pid_of(supervisor), signal.SIGKILL)

    assert [events.next()[0] for _ in range(2)] == ["lost", "restored"]
    assert len(weights.starts) == 4


def test_spent_restart_budget_stops_with_the_cause(make: Make, weights: Weights, events: Events) -> None:
    supervisor = make(max_restarts=2)
    supervisor.start()
    weights.behaviours = ["crash"] * 10

    os.kill(pid_of(supervisor), signal.SIGKILL)

    kinds, causes = zip(events.next()[:2], events.next(), strict=True)
    assert kinds == ("lost", "given_up")
    assert "ended 3 times" in causes[1]
    assert supervisor.states() == [ServerState.FAILED]
    with pytest.raises(
        ServerDead, match=r"(?s)ended 3 times within 60 minutes.*max_restarts=2.*Address already in use"
    ):
        supervisor.check()
    assert len(weights.starts) == 3


def test_restart_on_request_replaces_a_server_that_misbehaves(make: Make, events: Events) -> None:
    supervisor = make()
    (address,) = supervisor.start()

    supervisor.restart("127.0.0.1:1", "nobody is there")
    supervisor.restart(address, "it refused the weights")

    lost = events.next()
    assert "was killed, since it refused the weights" in lost[2]
    assert events.next()[0] == "restored"


def test_restored_server_that_the_client_refuses_is_restarted_again(
    make: Make, weights: Weights, events: Events
) -> None:
    supervisor = make()
    supervisor.start()
    events.refusals = 1

    os.kill(pid_of(supervisor), signal.SIGKILL)

    assert [events.next()[0] for _ in range(4)] == ["lost", "restored", "lost", "restored"]
    assert supervisor.states() == [ServerState.READY]


@pytest.mark.parametrize("behaviour", ["serve", "with_child"])
def test_close_leaves_no_process(make: Make, weights: Weights, behaviour: str) -> None:
    weights.behaviours = [behaviour]
    supervisor = make()
    supervisor.start()
    processes = [psutil.Process(pid) for pid in (pid_of(supervisor), *descendants(pid_of(supervisor)))]

    supervisor.close()
    supervisor.close()

    _gone, alive = psutil.wait_procs(processes, timeout=5)
    assert alive == []
    assert supervisor.states() == [ServerState.CLOSED]


def test_close_kills_a_server_that_ignores_sigterm(
    make: Make, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_process, "STOP_GRACE_S", 0.2)
    weights.behaviours = ["ignore_sigterm"]
    supervisor = make()
    supervisor.start()
    pid = pid_of(supervisor)

    supervisor.close()

    assert not psutil.pid_exists(pid)


def test_close_during_a_restart_ends_it(make: Make, weights: Weights, events: Events) -> None:
    supervisor = make()
    supervisor.start()
    weights.behaviours = ["never_ready"]
    os.kill(pid_of(supervisor), signal.SIGKILL)
    events.next()

    started_s = time.monotonic()
    supervisor.close()

    assert time.monotonic() - started_s < 10


CONTROLLER = f"""
import sys, time
from areal.infra.launcher import ServerCommand, ServerSupervisor
build = lambda start: ServerCommand(argv=(sys.executable, "-S", {FAKE!r}, str(start.ready_file), "ignore_sigterm"))
supervisor = ServerSupervisor(build, 2, latest_weights=lambda: ("m", 0), log_dir=sys.argv[1])
supervisor.start()
print(*[server.process.pid for server in supervisor._servers], flush=True)
if sys.argv[2] == "hang":
    time.sleep(600)
"""


@pytest.mark.parametrize("how", ["killed", "exits_without_close"])
def test_servers_end_with_the_controller(tmp_path: Path, how: str) -> None:
    argument = "hang" if how == "killed" else "exit"
    command = [sys.executable, "-c", CONTROLLER, str(tmp_path), argument]
    controller = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert controller.stdout is not None
    pids = [int(pid) for pid in controller.stdout.readline().split()]
    assert len(pids) == 2
    servers = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]

    if how == "killed":
        controller.kill()
    controller.wait(20)

    _gone, alive = psutil.wait_procs(servers, timeout=10)
    assert alive == []
    controller.stdout.close()


def test_zero_servers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one server"):
        ServerSupervisor(lambda start: ServerCommand(argv=()), 0, latest_weights=lambda: ("m", 0), log_dir=tmp_path)


def test_native_command_carries_every_setting() -> None:
    config = NativeConfig(model_path="/m", dtype="bfloat16", max_num_seqs=7, max_model_len=99, seed=3, num_threads=2)
    start = ServerStart(index=1, weights_path="/weights/v5", version=5, ready_file=Path("/run/server-1.ready"))

    command = native_server_command(config)(start)

    assert command.env == {"OMP_NUM_THREADS": "2"}
    assert command.argv[:3] == (sys.executable, "-m", "areal.engine.native.server")
    options = dict(zip(command.argv[3::2], command.argv[4::2], strict=True))
    assert options == {
        "--model-path": "/weights/v5",
        "--host": "127.0.0.1",
        "--port": "0",
        "--dtype": "bfloat16",
        "--max-num-seqs": "7",
        "--max-model-len": "99",
        "--seed": "3",
        "--num-threads": "2",
        "--device": "auto",
        "--version": "5",
        "--ready-file": "/run/server-1.ready",
    }


def test_native_command_with_a_trace_dir_tells_the_server_where_and_who_it_is() -> None:
    start = ServerStart(index=1, weights_path="/weights/v5", version=5, ready_file=Path("/run/server-1.ready"))

    command = native_server_command(NativeConfig(), trace_dir=Path("/run"))(start)

    assert command.argv[-4:] == ("--trace-dir", "/run", "--index", "1")
