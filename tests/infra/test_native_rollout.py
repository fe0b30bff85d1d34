# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The rollout engine on real `native` servers: interruption, weight swap and kill leave the random numbers alone."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from areal.api.cli_args import GenerationHyperparameters, InferenceEngineConfig, NativeConfig
from areal.api.io_struct import ModelRequest, ModelResponse, WeightUpdateMeta
from areal.infra.launcher import ServerSupervisor, native_server_command
from areal.infra.remote_inf_engine import EngineServerListener, RemoteNativeEngine

LENGTH = 200


def generate_all(engine: RemoteNativeEngine, count: int = 4) -> list[ModelResponse]:
    async def run() -> list[ModelResponse]:
        requests = [
            ModelRequest(
                input_ids=[1, 2, 3 + index],
                gconfig=GenerationHyperparameters(max_new_tokens=LENGTH, seed=index, ignore_eos=True),
            )
            for index in range(count)
        ]
        return await asyncio.gather(*(engine.agenerate(request) for request in requests))

    return asyncio.run(run())


@pytest.mark.slow
def test_generation_survives_abort_swap_and_kill_with_the_same_tokens(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=256, tie_word_embeddings=False,
    )  # fmt: skip
    Qwen2ForCausalLM(config).float().save_pretrained(tmp_path / "base")
    base = str(tmp_path / "base")
    native = NativeConfig(model_path=base, max_num_seqs=4, max_model_len=256)
    supervisor = ServerSupervisor(
        native_server_command(native), 2, latest_weights=lambda: (base, 1), log_dir=tmp_path, restart_delay_s=0.0
    )
    engine = RemoteNativeEngine(InferenceEngineConfig(setup_timeout=60.0), on_server_dead=supervisor.restart)
    with supervisor:
        engine.initialize(supervisor.start())
        supervisor.set_listener(EngineServerListener(engine))
        expected = [response.output_tokens for response in generate_all(engine)]
        assert len({tuple(tokens) for tokens in expected}) == 4

        def in_background(interrupt: list[str]) -> list[ModelResponse]:
            answers: list[ModelResponse] = []
            thread = threading.Thread(target=lambda: answers.extend(generate_all(engine)))
            thread.start()
            time.sleep(0.05)
            if "abort" in interrupt:
                engine.pause_generation("abort")
                engine.continue_generation()
            if "swap" in interrupt:
                engine.update_weights_from_disk(WeightUpdateMeta(path=base, version=2)).result(30)
            if "kill" in interrupt:
                process = supervisor._servers[0].process
                assert process is not None
                os.kill(process.pid, signal.SIGKILL)
            thread.join(60)
            return answers

        for interrupt in (["abort"], ["swap"], ["kill"]):
            answers = in_background(interrupt)
            assert [answer.output_tokens for answer in answers] == expected, interrupt
            if interrupt == ["abort"]:
                assert engine.export_stats()["rollout/continued_generations"] > 0, "nothing was in flight to interrupt"
        assert {version for answer in answers for version in answer.output_versions} == {2}
        deadline_s = time.monotonic() + 60
        while engine.export_stats()["rollout/servers_alive"] < 2:
            assert time.monotonic() < deadline_s, "the killed server does not come back"
            time.sleep(0.1)
        assert engine.export_stats()["rollout/servers_lost"] == 1
        assert [answer.output_tokens for answer in generate_all(engine)] == expected
    engine.destroy()
