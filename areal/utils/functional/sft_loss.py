# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""The supervised loss: negative log-likelihood of the trained tokens.

Called by `areal.trainer.sft.lm_engine`. A pure function: it returns the loss and what may be logged, and records nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from areal.utils.functional.segments import Segments


def compute_packed_sft_loss(
    logprobs: Tensor, entropy: Tensor, input_: dict[str, Any]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean of `-log p(x_{t+1} | x_{<=t})` over the trained positions; 0 without any.

    Args:
        logprobs, entropy: `[T]` packed, prediction aligned.
        input_: the packed micro-batch with `loss_mask` `[T]` (prediction aligned) and `cu_seqlens` `[N + 1]`.

    Returns:
        (loss, stats): the scalar loss, and detached `loss`, `entropy`, `loss_mask` `[T]` with `ppl`, `seq_mask` `[N]`
        (perplexity of each sequence, and which sequences have a trained token).
    """
    mask = input_["loss_mask"].bool()
    loss_t = torch.where(mask, -logprobs.float(), 0)
    loss = loss_t.sum() / mask.sum().clamp(min=1)
    segments = Segments(loss_t, input_["cu_seqlens"])
    stats = {
        "loss": loss_t,
        "entropy": torch.where(mask, entropy.float(), 0),
        "loss_mask": mask,
        "ppl": segments.mean(loss_t.detach(), mask).exp(),
        "seq_mask": segments.count(mask) > 0,
    }
    return loss, {name: value.detach() for name, value in stats.items()}
