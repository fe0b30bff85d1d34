# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the neighbours of the rollout code: a policy version, a sample stream, an engine without a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import torch

from areal.api.io_struct import ModelRequest, ModelResponse
from areal.api.workflow_api import RolloutWorkflow
from areal.infra.staleness_manager import StalenessManager


class FakeVersion:
    """A settable policy version."""

    def __init__(self, version: int = 0) -> None:
        self.version = version

    def get_version(self) -> int:
        return self.version


class CheckedStaleness(StalenessManager):
    """Asserts the admission bound after every transition of the account."""

    def _check(self) -> None:
        stat = self.get_stats()
        limit = (self.max_staleness + self.version_provider.get_version() + 1) * self.consumer_batch_size
        assert stat.accepted + stat.running <= self._spent() <= limit, (stat, self._spent(), limit)
        assert 0 <= stat.running <= self.max_concurrent_rollouts, stat
        assert stat.enqueued >= 0, stat

    def on_rollout_submitted(self) -> None:
        super().on_rollout_submitted()
        self._check()

    def on_rollout_accepted(self) -> None:
        super().on_rollout_accepted()
        self._check()

    def on_rollout_rejected(self, keeps_slot: bool = False) -> None:
        super().on_rollout_rejected(keeps_slot)
        self._check()

    def on_rollout_expired(self, was_running: bool) -> None:
        super().on_rollout_expired(was_running)
        self._check()


class FakeStream:
    """Endless samples `{"index": k}`; remembers what was drawn and consumed."""

    def __init__(self, batch_size: int, make: Callable[[int], dict[str, Any]] = lambda index: {"index": index}) -> None:
        self.batch_size = batch_size
        self.num_drawn = 0
        self.consumed: list[int] = []
        self._make = make

    def next_sample(self) -> tuple[int, dict[str, Any]]:
        index = self.num_drawn
        self.num_drawn += 1
        return index, self._make(index)

    def mark_consumed(self, indices: Sequence[int]) -> None:
        assert not set(indices) & set(self.consumed), "consumed twice"
        self.consumed.extend(indices)


class FakeEngine(FakeVersion):
    """Answers every request after `latency_s(request)` with tokens 7 labelled with the current version."""

    def __init__(self, latency_s: Callable[[ModelRequest], float] = lambda request: 0.0, num_tokens: int = 8) -> None:
        super().__init__()
        self._latency_s = latency_s
        self._num_tokens = num_tokens

    async def agenerate(self, req: ModelRequest) -> ModelResponse:
        await asyncio.sleep(self._latency_s(req))
        return ModelResponse(
            input_tokens=req.input_ids,
            output_tokens=[7] * self._num_tokens,
            output_logprobs=[-0.5] * self._num_tokens,
            output_versions=[self.version] * self._num_tokens,
        )


def tiny_trajectory(version: int, num_samples: int = 1, reward: float = 1.0) -> dict[str, torch.Tensor]:
    """A well-formed trajectory of one prompt token and two generated ones."""
    shape = (num_samples, 3)
    generated = torch.tensor([[0, 1, 1]], dtype=torch.int32).expand(shape)
    return {
        "input_ids": torch.full(shape, 7, dtype=torch.int32),
        "attention_mask": torch.ones(shape, dtype=torch.bool),
        "loss_mask": generated.clone(),
        "logprobs": -0.5 * generated.float(),
        "versions": torch.where(generated > 0, version, -1).int(),
        "rewards": torch.full((num_samples,), reward),
        "truncated": torch.zeros(num_samples, dtype=torch.bool),
    }


class FunctionWorkflow(RolloutWorkflow):
    """A workflow made from `async fn(engine, data)`."""

    def __init__(self, fn: Callable[[Any, dict[str, Any]], Any]) -> None:
        self.fn = fn

    async def arun_episode(self, engine: Any, data: dict[str, Any]) -> dict[str, torch.Tensor] | None:
        return await self.fn(engine, data)
