# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""A real server process over HTTP: protocol, limits, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from areal.engine.native.server import EXIT_BAD_MODEL, EXIT_PORT_IN_USE
from areal.utils.checksum import weights_checksum
from tests.engine.native.helpers import VOCAB, hf_logprobs, prompts
from tests.engine.native.test_request_parser import almost_good, json_values
from tests.experimental.models.archon.tiny_models import save_tiny, tiny_model

DEADLINE_S = 60.0
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(model: Path, ready: Path, *flags: str) -> list[str]:
    base = [sys.executable, "-m", "areal.engine.native.server", "--model-path", str(model), "--ready-file", str(ready)]
    return [*base, "--max-model-len", "200", "--max-num-seqs", "8", *flags]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S} s for {what}"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie that its adopted parent has not reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(name="server", scope="module")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of one server all tests of this file share; every test leaves it running and resumed."""
    directory = tmp_path_factory.mktemp("server")
    for version in (0, 1):
        save_tiny(directory / f"v{version}", "qwen2", seed=version)
    with subprocess.Popen(command(directory / "v0", directory / "ready"), env=ENVIRONMENT) as process:
        wait_until((directory / "ready").exists, "the ready file")
        address = json.loads((directory / "ready").read_text())
        assert address["pid"] == process.pid
        yield f"http://{address['host']}:{address['port']} {directory}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0


@pytest.fixture(name="models", scope="module")
def served_models(server: str) -> Path:
    return Path(server.split(" ", 1)[1])


class Client:
    """Synchronous calls; each returns `(status, body)`."""

    def __init__(self, server: str) -> None:
        self._base = server.split(" ")[0]

    async def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
            async with session.request(method, self._base + path, data=data) as response:
                text = await response.text()
                return response.status, json.loads(text) if response.content_type == "application/json" else text

    def get(self, path: str) -> tuple[int, Any]:
        return asyncio.run(self.call("GET", path))

    def post(self, path: str, body: object = None) -> tuple[int, Any]:
        return asyncio.run(self.call("POST", path, body))

    def metric(self, name: str) -> float:
        lines = self.get("/metrics")[1].splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"areal_native_{name} ")))


@pytest.fixture(name="client")
def client_of(server: str) -> Client:
    return Client(server)


def body(name: str, prompt: tuple[int, ...], **sampling: object) -> dict[str, object]:
    return {"request_id": name, "input_ids": list(prompt), "sampling_params": sampling}


def test_generate_answers_ids_logprobs_spans_and_reason(client: Client) -> None:
    prompt = prompts(7)[0]

    status, got = client.post("/generate", body("a", prompt, max_new_tokens=6, seed=1, ignore_eos=True))

    assert status == 200
    assert set(got) == {"request_id", "output_ids", "output_logprobs", "version_spans", "finish_reason"}
    assert (got["request_id"], got["finish_reason"]) == ("a", "length")
    assert got["version_spans"] == [{"version": 0, "start": 0, "end": 6}]
    expected = hf_logprobs(tiny_model("qwen2"), prompt, got["output_ids"])
    torch.testing.assert_close(torch.tensor(got["output_logprobs"]), expected, atol=1e-4, rtol=1e-4)


def test_a_weight_update_over_http_keeps_the_request_and_labels_its_tokens(client: Client, models: Path) -> None:
    prompt = prompts(9)[0]

    async def update() -> tuple[dict, dict, dict]:
        running = asyncio.create_task(
            client.call("POST", "/generate", body("long", prompt, max_new_tokens=150, seed=2, ignore_eos=True))
        )
        while (await client.call("GET", "/metrics"))[1].find("areal_native_running 1") < 0:
            await asyncio.sleep(0.001)
        paused = await client.call("POST", "/pause", {"mode": "keep"})
        loaded = await client.call("POST", "/load_weights", {"path": str(models / "v1"), "version": 1})
        await client.call("POST", "/resume")
        return paused[1], loaded[1], (await running)[1]

    paused, loaded, got = asyncio.run(update())
    restored = client.post("/load_weights", {"path": str(models / "v0"), "version": 0})[1]

    assert paused == {"version": 0, "paused": True}
    assert loaded == {"version": 1, "checksum": weights_checksum(tiny_model("qwen2", seed=1).named_parameters())}
    assert restored["checksum"] == weights_checksum(tiny_model("qwen2").named_parameters())
    assert [s["version"] for s in got["version_spans"]] == [0, 1]
    for span, model in zip(got["version_spans"], (tiny_model("qwen2"), tiny_model("qwen2", seed=1)), strict=True):
        expected = hf_logprobs(model, prompt, got["output_ids"])[span["start"] : span["end"]]
        actual = torch.tensor(got["output_logprobs"][span["start"] : span["end"]])
        torch.testing.assert_close(actual, expected, atol=2e-4, rtol=1e-4)


def test_abort_mode_returns_partial_output_over_http(client: Client) -> None:
    async def abort() -> dict:
        request = body("p", prompts(5)[0], max_new_tokens=190, seed=2, ignore_eos=True)
        running = asyncio.create_task(client.call("POST", "/generate", request))
        while (await client.call("GET", "/metrics"))[1].find("areal_native_running 1") < 0:
            await asyncio.sleep(0.001)
        await client.call("POST", "/pause", {"mode": "abort"})
        return (await running)[1]

    got = asyncio.run(abort())
    client.post("/resume")

    assert got["finish_reason"] == "abort"
    assert 0 < len(got["output_ids"]) == len(got["output_logprobs"]) < 190


def test_a_client_that_disconnects_frees_its_slot(client: Client) -> None:
    aborted = client.metric("requests_abort_total")
    client.post("/pause", {"mode": "keep"})

    async def leave() -> None:
        request = body("gone", prompts(5)[0], max_new_tokens=190, ignore_eos=True)
        task = asyncio.create_task(client.call("POST", "/generate", request))
        while (await client.call("GET", "/metrics"))[1].find("areal_native_waiting 1") < 0:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(leave())

    wait_until(lambda: client.metric("requests_abort_total") == aborted + 1, "the abort of the lost request")
    assert client.metric("waiting") == 0
    client.post("/resume")


def test_abort_by_request_id_over_http(client: Client) -> None:
    client.post("/pause", {"mode": "keep"})

    async def run() -> tuple[dict, dict]:
        task = asyncio.create_task(client.call("POST", "/generate", body("x1", prompts(5)[0])))
        while (await client.call("GET", "/metrics"))[1].find("areal_native_waiting 1") < 0:
            await asyncio.sleep(0.001)
        aborted = await client.call("POST", "/abort", {"request_ids": ["x1"]})
        return aborted[1], (await task)[1]

    aborted, got = asyncio.run(run())
    client.post("/resume")

    assert aborted == {"aborted": 1}
    assert (got["finish_reason"], got["output_ids"]) == ("abort", [])


@pytest.mark.parametrize(
    ("path", "request_body", "status", "part"),
    [
        ("/generate", body("a", (1,) * 200), 400, "at most 199"),
        ("/generate", body("a", (VOCAB,)), 400, f"0 to {VOCAB - 1}"),
        ("/generate", b"{", 400, "JSON"),
        ("/generate", b"\xff\xfe", 400, "JSON"),
        ("/generate", b"[" * 100_000, 400, "JSON"),
        ("/pause", {"mode": "stop"}, 400, "keep or abort"),
        ("/load_weights", {"path": "/nowhere", "version": 5}, 409, "directory"),
        ("/load_weights", {"path": "/nowhere"}, 400, "integer"),
        ("/unknown", {}, 404, "known path"),
    ],
)
def test_mistakes_are_answered_with_expected_and_got(
    client: Client, path: str, request_body: object, status: int, part: str
) -> None:
    got_status, got = client.post(path, request_body)

    assert got_status == status
    assert {"error", "expected", "got", "hint"} == set(got)
    assert part in json.dumps(got)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request_body=almost_good | json_values)
def test_no_body_makes_the_server_fail(client: Client, request_body: object) -> None:
    for path in ("/generate", "/pause", "/abort", "/load_weights"):
        status, _ = client.post(path, request_body)
        assert status in (200, 400, 409)
    assert client.post("/resume")[0] == 200


def test_info_and_health_describe_the_server(client: Client) -> None:
    status, info = client.get("/info")

    assert status == 200
    assert (info["model_type"], info["runner"], info["max_model_len"]) == ("qwen2", "archon", 200)
    assert info["checksum"] == weights_checksum(tiny_model("qwen2").named_parameters())
    assert client.get("/health") == (200, {"status": "ok", "version": 0, "paused": False})


def test_a_port_in_use_ends_the_server_with_its_own_exit_code(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            command(tmp_path, tmp_path / "ready", "--port", port),
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    assert done.returncode == EXIT_PORT_IN_USE
    assert f"expected a free port, got 127.0.0.1:{port}" in done.stderr
    assert not (tmp_path / "ready").exists()


def test_a_directory_without_a_model_ends_the_server_with_its_own_exit_code(tmp_path: Path) -> None:
    done = subprocess.run(
        command(tmp_path, tmp_path / "ready"),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )

    assert done.returncode == EXIT_BAD_MODEL
    assert "config.json" in done.stderr


def test_the_server_dies_with_its_parent_but_not_with_the_thread_that_started_it(tmp_path: Path) -> None:
    save_tiny(tmp_path / "model", "qwen2")
    script = (
        "import subprocess, sys, threading, time\n"
        "start = threading.Thread(target=subprocess.Popen, args=(sys.argv[1:],))\n"
        "start.start(); start.join(); time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, *command(tmp_path / "model", tmp_path / "ready")], env=ENVIRONMENT
    )
    try:
        wait_until((tmp_path / "ready").exists, "the ready file")
        pid = json.loads((tmp_path / "ready").read_text())["pid"]
        assert is_running(pid)
    finally:
        parent.kill()
        parent.wait()

    wait_until(lambda: not is_running(pid), "the server to follow its parent")
