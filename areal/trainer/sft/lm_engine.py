# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Supervised steps of a language model: one optimizer step, or one evaluation, over a batch of token sequences.

`LMEngine` runs inside each worker; the SFT trainer calls it, and it calls only the engine.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from areal.trainer.denominators import record_denominators
from areal.utils import stats_tracker
from areal.utils.data import to_prediction_alignment
from areal.utils.functional.reduce import all_reduced
from areal.utils.functional.sft_loss import compute_packed_sft_loss

if TYPE_CHECKING:
    from areal.api.engine_api import TrainEngine

Batch = dict[str, Tensor]


class LMEngine:
    """Maximum likelihood of the tokens that `loss_mask` selects."""

    def __init__(self, engine: TrainEngine) -> None:
        self.engine = engine

    @stats_tracker.scope_func_wrapper("sft")
    def train_lm(self, data: Batch | list[Batch]) -> dict[str, float]:
        """One optimizer step on the token mean over the whole batch, of all ranks.

        Args:
            data: padded `input_ids`, `attention_mask`, `loss_mask` `[B, L]`, token aligned; or a list of such dicts.

        Returns:
            The numbers of `TrainEngine.train_batch`.
        """
        self.engine.train()
        aligned = _aligned(data)
        batch = aligned if isinstance(aligned, list) else [aligned]
        num_trained = torch.stack([sft_loss_weight(item) for item in batch]).sum()
        found = self.engine.train_batch(aligned, sft_loss, sft_loss_weight)
        record_denominators(found["loss_weight"], float(all_reduced(num_trained, self.engine.data_parallel_group)))
        stats_tracker.scalar(**{name: value for name, value in found.items() if name != "loss"})  # `loss` is a stat
        return found

    @stats_tracker.scope_func_wrapper("sft-eval")
    def evaluate_lm(self, data: Batch | list[Batch]) -> dict[str, float]:
        """`loss` (mean nats per trained token over all ranks) and `ppl` = exp(loss) of a batch like `train_lm`'s."""
        self.engine.eval()
        loss = float(self.engine.eval_batch(_aligned(data), sft_loss, sft_loss_weight))
        return {"loss": loss, "ppl": math.exp(loss)}


def sft_loss(logprobs: Tensor, entropy: Tensor, micro_batch: dict[str, Any]) -> Tensor:
    """`compute_packed_sft_loss` that records its statistics in the current scope."""
    loss, found = compute_packed_sft_loss(logprobs, entropy, micro_batch)
    trained = found["loss_mask"]
    stats_tracker.denominator(
        n_seqs=found["seq_mask"],
        n_tokens=torch.ones_like(trained),
        n_valid_tokens=trained,
        prompt_tokens=~trained,
    )
    stats_tracker.stat("n_seqs", ppl=found["ppl"])
    stats_tracker.stat("n_valid_tokens", loss=found["loss"], entropy=found["entropy"])
    return loss


def sft_loss_weight(micro_batch: dict[str, Any]) -> Tensor:
    """Number of trained tokens."""
    return micro_batch["loss_mask"].bool().sum()


def _aligned(data: Batch | list[Batch]) -> Batch | list[Batch]:
    """New dicts with the prediction-aligned `loss_mask`."""
    if isinstance(data, list):
        return [_aligned(item) for item in data]
    return {**data, "loss_mask": to_prediction_alignment(data["loss_mask"])}
