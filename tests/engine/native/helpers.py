# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Drives the scheduler by hand, one step at a time, and computes what HF says about the same tokens."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from areal.engine.native.messages import GenerateRequest, Generation, SamplingParams
from areal.engine.native.model_loading import build_runner
from areal.engine.native.scheduler import EngineOptions, Scheduler
from tests.experimental.models.archon.tiny_models import save_tiny

VOCAB = 61
HF_FAMILIES: dict[str, dict] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "gemma2": {"sliding_window": 8, "query_pre_attn_scalar": 8},
}


def scheduler_for(directory: Path, **options: int) -> Scheduler:
    return Scheduler(build_runner(directory, device="cpu"), EngineOptions(**{"max_model_len": 200, **options}))


def tiny_scheduler(directory: Path, model_type: str = "qwen2", **options: int) -> tuple[Scheduler, PreTrainedModel]:
    model = save_tiny(directory, model_type, **HF_FAMILIES.get(model_type, {}))
    return scheduler_for(directory, **options), model


def add(scheduler: Scheduler, prompt: tuple[int, ...], name: str = "r", **sampling: object) -> Future[Generation]:
    future: Future[Generation] = Future()
    request = GenerateRequest(request_id=name, input_ids=prompt, sampling=SamplingParams(**sampling))
    scheduler.add(request, future)
    return future


def finish(scheduler: Scheduler, *futures: Future[Generation]) -> list[Generation]:
    while scheduler.has_work:
        scheduler.step()
    return [future.result(timeout=0) for future in futures]


def prompts(*lengths: int, seed: int = 0) -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(seed)
    return [tuple(torch.randint(2, VOCAB, (n,), generator=generator).tolist()) for n in lengths]


@torch.no_grad()
def hf_logits(model: PreTrainedModel, prompt: tuple[int, ...], output: list[int]) -> Tensor:
    """Logits `[len(output), V]` before each output token, from one full forward."""
    ids = torch.tensor([[*prompt, *output]])
    return model(ids).logits[0, len(prompt) - 1 : -1].float()


def hf_logprobs(model: PreTrainedModel, prompt: tuple[int, ...], output: list[int]) -> Tensor:
    rows = hf_logits(model, prompt, output).log_softmax(-1)
    return rows.gather(1, torch.tensor(output)[:, None])[:, 0]
