# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Trajectories for the tests of the PPO family."""

from __future__ import annotations

import torch

from areal.api.cli_args import NormConfig, PPOActorConfig
from tests.trainer.fake_engine import VOCAB


def actor_config(**settings) -> PPOActorConfig:
    return PPOActorConfig(backend="fsdp:d1", path="tiny", **{"ppo_n_minibatches": 1, **settings})


def grpo_config(**settings) -> PPOActorConfig:
    return actor_config(reward_norm=NormConfig("group", False, "group"), **settings)


def trajectory(layout: list[tuple[int, int, int]], rewards: list[float], *, versions: int = 0, truncated=None, seed=0):
    """One group; each sample is (prompt, answer, trailing environment) token counts."""
    generator = torch.Generator().manual_seed(seed)
    width, rows = max(sum(parts) for parts in layout), len(layout)
    positions = torch.arange(width)[None]
    start = torch.tensor([p for p, _, _ in layout])[:, None]
    end = start + torch.tensor([a for _, a, _ in layout])[:, None]
    length = torch.tensor([sum(parts) for parts in layout])[:, None]
    answer = (positions >= start) & (positions < end)
    inside = positions < length
    return {
        "input_ids": torch.where(inside, torch.randint(0, VOCAB, (rows, width), generator=generator), 0).int(),
        "attention_mask": inside,
        "loss_mask": answer.int(),
        "logprobs": torch.where(answer, -torch.rand(rows, width, generator=generator) - 1.5, 0),
        "versions": torch.where(answer, versions, -1).int(),
        "rewards": torch.tensor(rewards),
        "truncated": torch.tensor(truncated or [False] * rows),
    }
