# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

MakeBatch = Callable[..., dict]


def make_batch(lengths: list[int], width: int | None = None, seed: int = 0) -> dict[str, torch.Tensor]:
    """A trajectory-like batch of rows with these lengths, filled with random numbers; padding is 0."""
    generator = torch.Generator().manual_seed(seed)
    width = width or max(lengths)
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    ids = torch.randint(1, 1000, mask.shape, generator=generator, dtype=torch.int32) * mask
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "loss_mask": (torch.rand(mask.shape, generator=generator) < 0.5).int() * mask,
        "logprobs": torch.randn(mask.shape, generator=generator) * mask,
        "rewards": torch.randn(len(lengths), generator=generator),
        "task_ids": torch.arange(len(lengths)),
    }


@pytest.fixture
def batch_of() -> MakeBatch:
    return make_batch
