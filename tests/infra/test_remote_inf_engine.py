# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The rollout engine against fake `native` servers that pause, swap weights, fail and die."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from areal.api.cli_args import GenerationHyperparameters, InferenceEngineConfig
from areal.api.io_struct import ModelRequest, ModelResponse, WeightUpdateMeta
from areal.engine.native_remote import NativeBackend
from areal.infra import server_fleet
from areal.infra.remote_inf_engine import EngineServerListener, RemoteInfEngine
from areal.utils.errors import ConfigError, DeadlineExceeded, InfraError, ServerDead
from areal.workflow.rlvr import build_trajectory
from tests.fake_native_server import FakeNativeServer, expected_tokens
from tests.fakes import FakeStream, FunctionWorkflow


@pytest.fixture
def servers() -> Iterator[Callable[..., FakeNativeServer]]:
    made: list[FakeNativeServer] = []

    def make(**kwargs: Any) -> FakeNativeServer:
        made.append(FakeNativeServer(**kwargs))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., RemoteInfEngine]]:
    monkeypatch.setattr(server_fleet, "PROBE_EVERY_S", 0.1)
    made: list[RemoteInfEngine] = []

    def make(
        *servers: FakeNativeServer, on_server_dead: Callable[[str, str], None] | None = None, **settings: Any
    ) -> RemoteInfEngine:
        config = InferenceEngineConfig(**{"setup_timeout": 5.0, "request_timeout": 20.0, **settings})
        made.append(RemoteInfEngine(config, NativeBackend(), on_server_dead=on_server_dead))
        made[-1].initialize([server.address for server in servers])
        return made[-1]

    yield make
    for engine in made:
        engine.destroy()


def request(max_new_tokens: int = 10, seed: int | None = 5, **settings: Any) -> ModelRequest:
    gconfig = GenerationHyperparameters(max_new_tokens=max_new_tokens, seed=seed, **settings)
    return ModelRequest(input_ids=[1, 2, 3], gconfig=gconfig)


def generate(engine: RemoteInfEngine, req: ModelRequest) -> ModelResponse:
    return asyncio.run(engine.agenerate(req))


class Background:
    """A generation that runs in a thread while the test does something to the servers."""

    def __init__(self, engine: RemoteInfEngine, req: ModelRequest) -> None:
        self.response: ModelResponse
        self._thread = threading.Thread(target=lambda: setattr(self, "response", generate(engine, req)))
        self._thread.start()

    def result(self) -> ModelResponse:
        self._thread.join(15)
        assert not self._thread.is_alive()
        return self.response


def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def test_agenerate_healthy_server_takes_one_call(servers: Any, connect: Any) -> None:
    server = servers(stop_at=6, version=3)
    response = generate(connect(server), request(10, min_new_tokens=2))
    assert response.output_tokens == expected_tokens(5, 6)
    assert response.output_versions == [3] * 6 and response.output_logprobs == [-0.25] * 6
    assert response.stop_reason == "stop" and response.latency < 10
    params = server.requests[0]["sampling_params"]
    assert len(server.requests) == 1
    assert (params["max_new_tokens"], params["min_new_tokens"], params["seed"], params["rng_offset"]) == (10, 2, 5, 0)


@pytest.mark.parametrize(("max_tokens", "max_new_tokens", "expected"), [(8, 100, 5), (100, 4, 4), (4, 1, 1)])
def test_agenerate_budget_is_the_smaller_limit(
    servers: Any, connect: Any, max_tokens: int, max_new_tokens: int, expected: int
) -> None:
    response = generate(connect(servers()), request(max_new_tokens, max_tokens=max_tokens))
    assert response.output_len == expected and response.stop_reason == "length"


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"max_tokens": 3}, "the prompt has 3 tokens, max_tokens is 3"), ({"n_samples": 2}, "expected 1")],
)
def test_agenerate_impossible_request_raises_with_the_numbers(
    servers: Any, connect: Any, settings: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        generate(connect(servers()), request(**settings))


def test_agenerate_freeze_and_weight_swap_gives_two_spans_in_one_call(servers: Any, connect: Any) -> None:
    server = servers(token_s=0.005)
    engine = connect(server)
    running = Background(engine, request(60))
    until(lambda: len(server.requests) == 1)
    time.sleep(0.05)
    engine.update_weights_from_disk(WeightUpdateMeta(path="v1", version=1, checksum="c0")).result(5)
    assert engine.get_version() == 1
    response = running.result()
    assert response.output_tokens == expected_tokens(5, 60) and len(server.requests) == 1
    assert set(response.output_versions) == {0, 1} and response.output_versions == sorted(response.output_versions)
    assert server.calls[-3:] == ["pause:keep", "load:1", "resume"]


def test_agenerate_aborted_by_the_server_continues_with_the_same_random_numbers(servers: Any, connect: Any) -> None:
    server = servers(token_s=0.005)
    engine = connect(server)
    running = Background(engine, request(50, min_new_tokens=40))
    until(lambda: len(server.requests) == 1)
    time.sleep(0.05)
    engine.pause_generation("abort")
    until(lambda: len(server.requests) == 2)
    engine.continue_generation()
    response = running.result()
    first = server.requests[1]["sampling_params"]["rng_offset"]
    assert 0 < first < 50
    assert response.output_tokens == expected_tokens(5, 50)
    assert server.requests[1]["input_ids"] == [1, 2, 3, *expected_tokens(5, first)]
    assert server.requests[1]["sampling_params"]["max_new_tokens"] == 50 - first
    assert server.requests[1]["sampling_params"]["min_new_tokens"] == max(0, 40 - first)
    assert engine.export_stats()["rollout/continued_generations"] == 1


def test_agenerate_server_dies_midway_continues_on_the_other(servers: Any, connect: Any) -> None:
    lost: list[str] = []
    one, two = servers(token_s=0.01), servers(token_s=0.001)
    engine = connect(one, two, on_server_dead=lambda address, cause: lost.append(address))
    running = Background(engine, request(50))
    until(lambda: bool(one.requests or two.requests))
    victim, other = (one, two) if one.requests else (two, one)
    victim.abort_all()  # a first segment comes back ...
    until(lambda: len(victim.requests) == 2)
    time.sleep(0.03)
    victim.die()  # ... and its continuation dies with the server
    response = running.result()
    assert response.output_tokens == expected_tokens(5, 50) and response.stop_reason == "length"
    assert other.requests[0]["sampling_params"]["rng_offset"] == victim.requests[1]["sampling_params"]["rng_offset"]
    assert lost == [victim.address]
    assert engine.export_stats()["rollout/servers_alive"] == 1


def test_agenerate_removed_server_hands_its_requests_over(servers: Any, connect: Any) -> None:
    one, two = servers(token_s=100.0), servers()
    engine = connect(one)
    running = Background(engine, request(5))
    until(lambda: len(one.requests) == 1)
    engine.add_server(two.address)
    engine.remove_server(one.address, "the supervisor saw it end")
    assert running.result().output_tokens == expected_tokens(5, 5)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_agenerate_transient_status_is_retried(servers: Any, connect: Any, status: int) -> None:
    server = servers()
    server.statuses["/generate"] = [status, status]
    response = generate(connect(server), request(4))
    assert response.output_tokens == expected_tokens(5, 4) and len(server.requests) == 3


def test_agenerate_lost_connection_of_a_living_server_is_retried(servers: Any, connect: Any) -> None:
    server = servers()
    server.drop_next = 1
    assert generate(connect(server), request(4)).output_tokens == expected_tokens(5, 4)


def test_agenerate_persistent_server_error_is_an_infra_error(servers: Any, connect: Any) -> None:
    server = servers()
    server.statuses["/generate"] = [500] * 10
    with pytest.raises(InfraError, match="500"):
        generate(connect(server, request_retries=2), request(4))
    assert len(server.requests) == 2


def test_agenerate_refused_request_is_not_repeated(servers: Any, connect: Any) -> None:
    server = servers()
    server.statuses["/generate"] = [400]
    with pytest.raises(ConfigError, match="400"):
        generate(connect(server), request(4))
    assert len(server.requests) == 1


def test_agenerate_all_servers_dead_says_so_after_the_deadline(servers: Any, connect: Any) -> None:
    server = servers()
    engine = connect(server, setup_timeout=1.0)
    server.die()
    with pytest.raises(DeadlineExceeded, match="none lives for 1 s"):
        generate(engine, request(4))


def test_initialize_waits_for_a_slow_server_and_gives_up_on_a_dead_one(servers: Any, connect: Any) -> None:
    server = servers()
    server.is_ready = False
    threading.Timer(0.5, lambda: setattr(server, "is_ready", True)).start()
    generate(connect(server), request(2))
    server.is_ready = False
    with pytest.raises(DeadlineExceeded, match=r"to be healthy, gave up after 0\.3 s"):
        connect(server, setup_timeout=0.3)


def test_update_weights_failing_server_is_dropped_and_comes_back_with_the_current_weights(
    servers: Any, connect: Any
) -> None:
    lost: list[str] = []
    one, two = servers(), servers()
    engine = connect(one, two, on_server_dead=lambda address, cause: lost.append(address))
    two.statuses["/load_weights"] = [500] * 3  # every attempt of this update, none of the next
    engine.update_weights_from_disk(WeightUpdateMeta(path="v1", version=1)).result(5)
    assert lost == [two.address] and one.version == 1 and engine.get_version() == 1
    until(lambda: engine.export_stats()["rollout/servers_alive"] == 2)
    assert two.version == 1 and two.calls[-2:] == ["load:1", "resume"]


def test_update_weights_without_a_living_server_is_taken_by_the_next(servers: Any, connect: Any) -> None:
    one, two = servers(), servers()
    engine = connect(one)
    engine.remove_server(one.address, "killed")

    engine.update_weights_from_disk(WeightUpdateMeta(path="v1", version=1)).result(5)
    waiting = Background(engine, request(3))
    engine.add_server(two.address)

    assert engine.get_version() == 1
    assert waiting.result().output_versions == [1] * 3


def test_update_weights_that_the_last_server_does_not_survive_waits_for_its_return(servers: Any, connect: Any) -> None:
    one = servers()
    engine = connect(one)
    one.statuses["/load_weights"] = [500] * 3  # every attempt of this update, none of the next

    engine.update_weights_from_disk(WeightUpdateMeta(path="v1", version=1)).result(5)

    assert generate(engine, request(3)).output_versions == [1] * 3


def test_fail_ends_the_wait_for_rollouts_with_the_cause(servers: Any, connect: Any) -> None:
    async def episode(engine: RemoteInfEngine, data: dict[str, Any]) -> Any:
        return build_trajectory(await engine.agenerate(request(4)), 0.0)

    one = servers()
    engine = connect(one, consumer_batch_size=1)
    view = engine.eval_view()
    engine.remove_server(one.address, "killed")
    timer = threading.Timer(0.1, lambda: EngineServerListener(engine).given_up(ServerDead("ended 4 times")))
    timer.start()

    with pytest.raises(ServerDead, match="ended 4 times"):
        engine.prepare_batch(FakeStream(1), FunctionWorkflow(episode))
    with pytest.raises(ServerDead, match="ended 4 times"):
        view.rollout_batch([{"index": 0}], FunctionWorkflow(episode))


def test_update_weights_refused_by_all_leaves_the_old_version_in_use(servers: Any, connect: Any) -> None:
    one, two = servers(), servers()
    engine = connect(one, two)
    one.refuse_weights = two.refuse_weights = "missing tensor lm_head.weight"
    with pytest.raises(ConfigError, match="missing tensor"):
        engine.update_weights_from_disk(WeightUpdateMeta(path="v1", version=1)).result(5)
    assert engine.get_version() == 0
    assert generate(engine, request(3)).output_versions == [0] * 3


def test_update_weights_other_checksum_drops_the_server(servers: Any, connect: Any) -> None:
    one, two = servers(), servers()
    engine = connect(one, two)
    two.checksum = "other"
    engine.update_weights_from_disk(WeightUpdateMeta(path="v1", version=1, checksum="c0")).result(5)
    stats = engine.export_stats()
    assert stats["rollout/checksum_mismatches"] >= 1
    assert {generate(engine, request(3)).output_versions[0] for _ in range(4)} == {1}


def test_add_server_gets_the_current_weights_first(servers: Any, connect: Any) -> None:
    one, late = servers(), servers()
    engine = connect(one)
    engine.update_weights_from_disk(WeightUpdateMeta(path="v4", version=4)).result(5)
    engine.add_server(late.address)
    assert late.version == 4


def test_prepare_batch_over_http_trains_versions_of_the_servers(servers: Any, connect: Any) -> None:
    async def episode(engine: RemoteInfEngine, data: dict[str, Any]) -> Any:
        return build_trajectory(await engine.agenerate(request(8, seed=None)), float(data["index"] % 2))

    one, two = servers(token_s=0.001), servers(token_s=0.001)
    engine = connect(one, two, consumer_batch_size=4, max_concurrent_rollouts=16, max_head_offpolicyness=1)
    stream = FakeStream(4)
    for version in range(4):
        batch = engine.prepare_batch(stream, FunctionWorkflow(episode), group_size=2)
        assert len(batch) == 4
        for trajectory in batch:
            assert trajectory["input_ids"].shape == (2, 11)
            assert int(trajectory["versions"][:, 3:].min()) >= version - 1
        engine.update_weights_from_disk(WeightUpdateMeta(path="p", version=version + 1)).result(5)
    assert len(stream.consumed) == 16
    stats = engine.export_stats()
    assert stats["rollout/lag_max"] <= 1 == stats["rollout/lag_limit"] and stats["rollout/zero_variance_share"] == 1.0
    seeds = [body["sampling_params"]["seed"] for server in (one, two) for body in server.requests]
    assert len(set(seeds)) == len(seeds), "samples of a group must not share random numbers"


def test_deterministic_sampling_repeats_seeds_of_the_same_sample(servers: Any, connect: Any) -> None:
    async def episode(engine: RemoteInfEngine, data: dict[str, Any]) -> Any:
        return build_trajectory(await engine.agenerate(request(4, seed=None)), 0.0)

    def seeds() -> list[int]:
        server = servers()
        engine = connect(server, consumer_batch_size=2, deterministic_sampling=True)
        engine.prepare_batch(FakeStream(2), FunctionWorkflow(episode), group_size=2)
        return sorted(body["sampling_params"]["seed"] for body in server.requests)

    first = seeds()
    assert first == seeds() and len(set(first)) == 4


def test_eval_view_shares_servers_and_has_its_own_account(servers: Any, connect: Any) -> None:
    async def episode(engine: RemoteInfEngine, data: dict[str, Any]) -> Any:
        return build_trajectory(await engine.agenerate(request(4)), 1.0)

    engine = connect(servers(), consumer_batch_size=2, max_head_offpolicyness=0)
    view = engine.eval_view()
    results = view.rollout_batch([{"index": index} for index in range(20)], FunctionWorkflow(episode))
    assert len(results) == 20, "the staleness bound of training does not apply"
    assert engine.executor.staleness_manager.get_stats().accepted == 0
    assert view.export_stats()["eval-rollout/accepted"] == 20
    engine.set_version(3)
    assert view.get_version() == 3
    view.destroy()
    assert len(engine.prepare_batch(FakeStream(2), FunctionWorkflow(episode))) == 2
