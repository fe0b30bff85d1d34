# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from areal.utils import names, perf_tracer
from areal.utils.jsonl import read_jsonl


@pytest.fixture(autouse=True)
def _off() -> Iterator[None]:
    perf_tracer.reset()
    yield
    perf_tracer.reset()


def events_of(path: Path) -> list[dict]:
    perf_tracer.save(force=True)
    return read_jsonl(path)[0]


def spans_of(path: Path) -> dict[str, dict]:
    return {event["name"]: event for event in events_of(path) if event["ph"] == "X"}


def test_off_records_nothing_and_writes_nothing(tmp_path: Path) -> None:
    with perf_tracer.trace_scope("a"):
        perf_tracer.instant("b")
    perf_tracer.save(force=True)
    assert not perf_tracer.is_configured() and list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError, match="configure"):
        perf_tracer.get_tracer()


def test_off_scope_costs_less_than_a_microsecond_or_so() -> None:
    start = time.perf_counter()
    for _ in range(20_000):
        with perf_tracer.trace_scope("a"):
            pass
    assert (time.perf_counter() - start) / 20_000 < 20e-6  # measured 0.2 µs; the bound only catches recording


def test_configure_writes_to_the_documented_path_and_refuses_twice(tmp_path: Path) -> None:
    config = SimpleNamespace(
        enabled=True, save_interval=1, fileroot=str(tmp_path), experiment_name="exp", trial_name="t0"
    )
    perf_tracer.configure(config, rank=3, role="trainer")
    with pytest.raises(RuntimeError, match="already"):
        perf_tracer.configure(config, rank=3, role="trainer")
    path = names.log_dir(tmp_path, "exp", "t0") / "perf_tracer" / "trainer" / "traces-r3.jsonl"
    assert events_of(path)[1]["args"]["name"] == "trainer r3"


def test_configure_disabled_stays_off() -> None:
    perf_tracer.configure(SimpleNamespace(enabled=False), rank=0)
    assert not perf_tracer.is_configured()


def test_scopes_nest_on_wall_time(tmp_path: Path) -> None:
    before_us = time.time() * 1e6
    perf_tracer.configure_at(tmp_path, rank=0)
    outer_scope = perf_tracer.trace_scope("outer", perf_tracer.Category.COMPUTE, args={"step": 4})
    with outer_scope, perf_tracer.trace_scope("inner", "anything"):
        pass
    spans = spans_of(tmp_path / "perf_tracer" / "traces-r0.jsonl")
    outer, inner = spans["outer"], spans["inner"]
    assert outer["ts"] <= inner["ts"] and inner["ts"] + inner["dur"] <= outer["ts"] + outer["dur"]
    assert (outer["cat"], inner["cat"], outer["args"]) == ("compute", "anything", {"step": 4})
    assert abs(outer["ts"] - before_us) < 5e6


def test_scope_that_raises_is_recorded(tmp_path: Path) -> None:
    perf_tracer.configure_at(tmp_path, rank=0)
    with pytest.raises(KeyError), perf_tracer.trace_scope("a"):
        raise KeyError
    assert "a" in spans_of(tmp_path / "perf_tracer" / "traces-r0.jsonl")


def test_save_interval_writes_on_its_last_step(tmp_path: Path) -> None:
    perf_tracer.configure_at(tmp_path, rank=0, save_interval=3)
    path = tmp_path / "perf_tracer" / "traces-r0.jsonl"
    written = []
    for step in range(6):
        perf_tracer.instant("tick")
        perf_tracer.save(step=step)
        written.append(path.exists() and sum(e["ph"] == "i" for e in read_jsonl(path)[0]))
    assert written == [False, False, 3, 3, 3, 6]


def test_buffer_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf_tracer, "MAX_BUFFERED_EVENTS", 10)
    perf_tracer.configure_at(tmp_path, rank=0)
    for _ in range(25):
        perf_tracer.instant("tick")
    assert len(read_jsonl(tmp_path / "perf_tracer" / "traces-r0.jsonl")[0]) >= 20


def test_decorators_keep_metadata_and_wrap_coroutines(tmp_path: Path) -> None:
    @perf_tracer.trace_perf("plain")
    def plain(a: int) -> int:
        """Doc."""
        return a

    @perf_tracer.trace_session("reward")
    async def later(a: int) -> int:
        return a

    assert plain(1) == 1  # decorated before the tracer exists
    perf_tracer.configure_at(tmp_path, rank=0)
    assert plain.__doc__ == "Doc." and plain(2) == 2 and asyncio.run(later(3)) == 3
    assert set(spans_of(tmp_path / "perf_tracer" / "traces-r0.jsonl")) == {"plain", "reward"}


def test_sessions_of_interleaved_tasks_have_their_own_ids_and_lanes(tmp_path: Path) -> None:
    perf_tracer.configure_at(tmp_path, rank=0)

    @perf_tracer.session_context()
    async def sample(task_id: int, ready: asyncio.Event, go: asyncio.Event) -> int:
        perf_tracer.set_task_id(task_id)
        async with perf_tracer.atrace_session_phase("generate", args={"tokens": 7}):
            ready.set()
            await go.wait()
        perf_tracer.trace_session_event("accepted", reward=1.0)
        return perf_tracer.get_session_id()

    async def main() -> list[int]:
        first, second = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(sample(10, first, second), sample(11, second, first))

    sessions = asyncio.run(main())
    events = events_of(tmp_path / "perf_tracer" / "traces-r0.jsonl")
    phases = [event for event in events if event["name"] == "generate"]
    assert {(e["args"]["task_id"], e["args"]["session_id"]) for e in phases} == set(zip([10, 11], sessions))
    assert len({event["id"] for event in phases}) == 2
    assert [e["args"]["reward"] for e in events if e["name"] == "accepted"] == [1.0, 1.0]


def test_to_perfetto_merges_processes_and_skips_torn_lines(tmp_path: Path) -> None:
    for rank, role in ((0, "trainer"), (0, "server")):
        perf_tracer.configure_at(tmp_path, rank=rank, role=role)
        with perf_tracer.trace_scope("work"), perf_tracer.trace_session_phase("generate"):
            pass
        perf_tracer.reset()
    paths = sorted((tmp_path / "perf_tracer").rglob("traces-*.jsonl"))
    with paths[0].open("a") as file:
        file.write('{"ph": "X", "na')
    trace = json.loads(perf_tracer.to_perfetto(paths, tmp_path / "trace.json").read_text())["traceEvents"]
    timed = [event for event in trace if "ts" in event]
    assert min(event["ts"] for event in timed) == 0 and len({event["pid"] for event in trace}) == 2
    assert sorted(event["ph"] for event in timed) == ["X", "X", "b", "b", "e", "e"]
    begins = {event["id"]: event["ts"] for event in timed if event["ph"] == "b"}
    assert all(event["ts"] >= begins[event["id"]] for event in timed if event["ph"] == "e")
    assert {e["args"]["name"] for e in trace if e["name"] == "process_name"} == {"trainer r0", "server r0"}


def test_unwritable_folder_warns_and_does_not_raise(tmp_path: Path) -> None:
    (tmp_path / "perf_tracer").write_text("a file where the folder should be")
    perf_tracer.configure_at(tmp_path, rank=0)
    perf_tracer.instant("tick")
    perf_tracer.save(force=True)
