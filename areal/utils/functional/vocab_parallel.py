# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""`logprobs` under the names and argument orders of AReaL's vocabulary-parallel functions, for code written against it."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor

from areal.utils.functional import logprobs


def gather_logprobs(
    logits: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    tp_group: dist.ProcessGroup | None = None,
    chunk_size: int = logprobs.DEFAULT_CHUNK_SIZE,
) -> Tensor:
    """Log-prob of each label, float32 `[T]`, of logits whose columns are cut evenly over `tp_group`."""
    return logprobs.gather_logprobs(logits, labels, temperature, chunk_size, tp_group)


def gather_logprobs_entropy(
    logits: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    tp_group: dist.ProcessGroup | None = None,
    chunk_size: int = logprobs.DEFAULT_CHUNK_SIZE,
) -> tuple[Tensor, Tensor]:
    """Log-prob of each label and entropy of each row, float32 `[T]` each; arguments as in `gather_logprobs`."""
    return logprobs.gather_logprobs_entropy(logits, labels, temperature, chunk_size, tp_group)
