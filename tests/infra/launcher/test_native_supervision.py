# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Supervisor, weight sync and the real embedded server together: a killed server comes back with the pushed weights."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from areal.api.cli_args import NativeConfig
from areal.api.io_struct import WeightUpdateMeta
from areal.infra.launcher import ServerSupervisor, native_server_command
from areal.infra.weight_sync import DiskWeightSync
from areal.utils.checkpoint_dir import write_weights
from tests.infra.launcher.test_supervisor import Events


def request(address: str, path: str, payload: dict[str, Any] | None = None) -> dict[str, Any]:
    body = None if payload is None else json.dumps(payload).encode()
    call = urllib.request.Request(f"http://{address}{path}", data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(call, timeout=20) as answer:
        return json.loads(answer.read())


class HttpReceiver:
    """What the rollout client does for one server, without any concurrency."""

    def __init__(self, address: str) -> None:
        self.address = address

    def update_weights_from_disk(self, meta: WeightUpdateMeta) -> Future[None]:
        request(self.address, "/pause", {"mode": "keep"})
        loaded = request(self.address, "/load_weights", {"path": meta.path, "version": meta.version})
        request(self.address, "/resume", {})
        assert loaded["checksum"] == meta.checksum
        future: Future[None] = Future()
        future.set_result(None)
        return future


@pytest.mark.slow
def test_killed_native_server_comes_back_with_the_pushed_weights_and_their_checksum(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=False,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).float()
    model.save_pretrained(tmp_path / "base")
    native = NativeConfig(model_path=str(tmp_path / "base"), max_num_seqs=4, max_model_len=64)
    events = Events()
    sync: DiskWeightSync | None = None
    supervisor = ServerSupervisor(
        native_server_command(native),
        1,
        latest_weights=lambda: sync.latest() if sync else (native.model_path, 0),
        log_dir=tmp_path / "servers",
        listener=events,
        start_deadline_s=60.0,
        restart_delay_s=0.0,
    )
    with supervisor:
        (address,) = supervisor.start()
        assert request(address, "/health")["version"] == 0
        sync = DiskWeightSync(
            lambda path: write_weights(path, model.state_dict().items()),
            HttpReceiver(address),
            tmp_path / "weights",
            initial=(native.model_path, 0),
        )
        for parameter in model.parameters():
            parameter.data.add_(0.1)
        report = sync.push(1)

        os.kill(int(supervisor._servers[0].process.pid), signal.SIGKILL)

        assert events.next()[0] == "lost"
        kind, old_address, new_address, version = events.next()
        assert (kind, old_address, version) == ("restored", address, "1")
        assert request(new_address, "/health")["version"] == 1
        assert request(new_address, "/info")["checksum"] == report.checksum
