# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The owner thread: commands from other threads, limits, clean and unclean ends."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from areal.engine.native.engine import NativeEngine
from areal.engine.native.messages import (
    FinishReason,
    GenerateRequest,
    Generation,
    PauseMode,
    RequestError,
    SamplingParams,
)
from areal.engine.native.model_loading import build_runner
from areal.engine.native.scheduler import EngineOptions
from areal.utils import perf_tracer, stat_keys
from areal.utils.errors import CheckpointError, ServerDead
from areal.utils.jsonl import read_jsonl
from tests.engine.native.helpers import prompts
from tests.experimental.models.archon.tiny_models import save_tiny

DEADLINE_S = 30.0


@pytest.fixture(name="engine")
def running_engine(tmp_path: Path) -> Iterator[NativeEngine]:
    save_tiny(tmp_path / "v0", "qwen2")
    options = EngineOptions(max_num_seqs=4, max_model_len=200, max_waiting=4)
    engine = NativeEngine(build_runner(tmp_path / "v0", device="cpu"), options).start()
    yield engine
    engine.close()


def submit(engine: NativeEngine, name: str = "r", length: int = 5, **sampling: object) -> Future[Generation]:
    request = GenerateRequest(request_id=name, input_ids=prompts(length)[0], sampling=SamplingParams(**sampling))
    return engine.submit(request)


def test_requests_from_outside_are_answered(engine: NativeEngine) -> None:
    futures = [submit(engine, f"r{i}", seed=i, max_new_tokens=5, ignore_eos=True) for i in range(8)]

    results = [future.result(DEADLINE_S) for future in futures]

    assert [r.request_id for r in results] == [f"r{i}" for i in range(8)]
    assert all(len(r.output_ids) == 5 for r in results)


def test_requests_while_paused_are_held_until_resume(engine: NativeEngine) -> None:
    assert engine.pause(PauseMode.KEEP).result(DEADLINE_S).paused
    future = submit(engine, seed=0, max_new_tokens=3)
    assert engine.pause(PauseMode.KEEP).result(DEADLINE_S).waiting == 1
    assert not future.done()

    assert not engine.resume().result(DEADLINE_S).paused

    assert future.result(DEADLINE_S).finish_reason in (FinishReason.LENGTH, FinishReason.STOP)


def test_load_weights_labels_the_version_and_is_idempotent_by_it(engine: NativeEngine, tmp_path: Path) -> None:
    save_tiny(tmp_path / "v1", "qwen2", seed=1)
    before = engine.status().checksum

    first = engine.load_weights(tmp_path / "v1", 1)
    again = engine.load_weights(tmp_path / "nowhere", 1)

    assert (first.version, again) == (1, first)
    assert first.checksum != before
    assert submit(engine, max_new_tokens=2, seed=0).result(DEADLINE_S).version_spans[0].version == 1


def test_a_refused_checkpoint_leaves_label_and_checksum(engine: NativeEngine, tmp_path: Path) -> None:
    before = engine.status()

    with pytest.raises(CheckpointError):
        engine.load_weights(tmp_path / "nowhere", 1)

    assert engine.status() == before


def test_a_full_queue_is_refused_with_429(engine: NativeEngine) -> None:
    engine.pause().result(DEADLINE_S)
    for i in range(8):
        submit(engine, f"r{i}")

    with pytest.raises(RequestError, match="queue full") as caught:
        submit(engine, "one too many")

    assert caught.value.status == 429
    assert "areal_native_requests_rejected_total 1" in engine.metrics()
    assert engine.abort([]).result(DEADLINE_S) == 8
    submit(engine, "now there is room")


def test_a_prompt_without_room_for_output_is_refused(engine: NativeEngine) -> None:
    with pytest.raises(RequestError, match="at most 199 prompt tokens"):
        submit(engine, length=200)
    assert submit(engine, length=199, max_new_tokens=9, ignore_eos=True).result(DEADLINE_S).finish_reason == "length"


def test_cancel_frees_the_slot(engine: NativeEngine) -> None:
    future = submit(engine, max_new_tokens=150, ignore_eos=True)

    engine.cancel(future)

    assert future.result(DEADLINE_S).finish_reason is FinishReason.ABORT
    assert engine.pause().result(DEADLINE_S).running == 0


def test_close_returns_what_is_open_as_aborted_and_later_calls_fail(engine: NativeEngine) -> None:
    engine.pause().result(DEADLINE_S)
    future = submit(engine)

    engine.close()

    assert future.result(DEADLINE_S).finish_reason is FinishReason.ABORT
    assert not engine.is_alive()
    with pytest.raises(ServerDead):
        submit(engine)
    engine.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dying_owner_thread_answers_everyone_who_waits(engine: NativeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.pause().result(DEADLINE_S)
    monkeypatch.setattr(engine._runner, "prefill", lambda prompts: 1 / 0)
    future = submit(engine)
    engine.resume()

    with pytest.raises(ServerDead, match="log for the cause"):
        future.result(DEADLINE_S)
    engine._thread.join(DEADLINE_S)
    assert not engine.is_alive()


def test_metrics_are_prometheus_text(engine: NativeEngine) -> None:
    submit(engine, max_new_tokens=4, ignore_eos=True).result(DEADLINE_S)
    engine.pause().result(DEADLINE_S)

    lines = engine.metrics().splitlines()

    values = dict(line.split(" ") for line in lines if not line.startswith("#"))
    assert values["areal_native_generated_tokens_total"] == "4"
    assert values["areal_native_paused"] == "1"
    assert sum(line.startswith("# TYPE") for line in lines) == len(values)


def test_traced_engine_records_when_it_served_and_when_it_loaded(engine: NativeEngine, tmp_path: Path) -> None:
    save_tiny(tmp_path / "v1", "qwen2", seed=1)
    perf_tracer.configure_at(tmp_path, rank=2, role="server")
    try:
        submit(engine, seed=0, max_new_tokens=3).result(DEADLINE_S)
        engine.pause().result(DEADLINE_S)
        engine.load_weights(tmp_path / "v1", 1)
    finally:
        perf_tracer.reset()
    events, _ = read_jsonl(tmp_path / stat_keys.TRACE_DIR / "server" / "traces-r2.jsonl")
    serve, load = sorted((event for event in events if event["ph"] == "X"), key=lambda event: event["ts"])
    assert (serve["name"], load["name"]) == (stat_keys.SPAN_SERVE, stat_keys.SPAN_LOAD)
    assert serve["ts"] + serve["dur"] <= load["ts"]
