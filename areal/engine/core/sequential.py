# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Base of models that run their micro-batches one after another, each forward followed by its backward.

Engines derive from it; a derived model supplies `logprobs` for one packed micro-batch (one that may be a critic: `outputs_of`),
and its weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from areal.api.cli_args import MicroBatchSpec
from areal.engine.core.model import Objective, PackedInputs
from areal.engine.core.optim import clip_gradients
from areal.models.packed_attention.dense import MAX_DENSE_LENGTH
from areal.utils.data import MicroBatchList


class SequentialModel(ABC):
    """The part of `PackedModel` that only depends on the forward of one micro-batch."""

    def __init__(self, module: nn.Module, hidden_matrices: set[str], device: torch.device) -> None:
        self.module = module
        self.hidden_matrices = hidden_matrices
        self.device = device

    @property
    def num_parameters(self) -> int:
        """See `PackedModel`."""
        return sum(param.numel() for param in self.module.parameters())  # of a DTensor: all its shards

    @property
    def max_positions(self) -> int | None:
        """See `PackedModel`."""
        return None

    @property
    @abstractmethod
    def shares_prefixes(self) -> bool:
        """Whether sequences of a micro-batch may share rows (`PackedInputs` with `prediction_rows`)."""

    @abstractmethod
    def logprobs(self, inputs: PackedInputs, temperature: float, with_entropy: bool) -> tuple[Tensor, Tensor | None]:
        """Log-probs of the labels and entropies, float32 `[U]`; collective where parameters are sharded."""

    @abstractmethod
    def set_gradient_sync(self, is_last: bool) -> None:
        """Told before each forward whether its backward is the last one of the step, which must leave gradients reduced."""

    @abstractmethod
    def must_run_in_step(self) -> bool:
        """Whether all ranks must run the same forwards and backwards, because these contain collectives."""

    def micro_batch_spec(self, spec: MicroBatchSpec) -> MicroBatchSpec:
        """See `PackedModel`."""
        return spec

    def forward_backward(self, objective: Objective) -> Tensor:
        """See `PackedModel`."""
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        micro_batches, weights = objective.micro_batches, objective.weights.tolist()
        running = [i for i in range(len(weights)) if weights[i] != 0.0 or self.must_run_in_step()]
        # All before the first forward: the lengths of sequences come from the device, which would have to finish what it does.
        inputs = {i: self.inputs_of(micro_batches.mbs[i], micro_batches.is_dummy(i)) for i in running}
        for position in running:
            mb, weight = micro_batches.mbs[position], weights[position]
            if torch.is_grad_enabled():
                self.set_gradient_sync(position == running[-1])
            outputs = self.outputs_of(inputs[position], len(mb["input_ids"]), objective.temperature, with_entropy=True)
            if weight == 0.0:
                scaled = outputs[0].sum() * 0.0
            else:
                scaled = objective.loss_fn(*outputs, mb) * (weight / objective.total_weight)
                total += scaled.detach()
            if torch.is_grad_enabled():
                scaled.backward()
        return total

    def forward(self, micro_batches: MicroBatchList, temperature: float) -> list[Tensor]:
        """See `PackedModel`."""
        outputs = []
        for position, mb in enumerate(micro_batches):
            if not micro_batches.is_dummy(position) or self.must_run_in_step():
                inputs = self.inputs_of(mb, is_dummy=False)
                outputs.append(self.outputs_of(inputs, len(mb["input_ids"]), temperature, with_entropy=False)[0].cpu())
        return outputs[: len(micro_batches) - micro_batches.num_dummies]

    def inputs_of(self, micro_batch: dict[str, Any], is_dummy: bool) -> PackedInputs:
        """The packed inputs of a micro-batch, with rows that sequences share where model and lengths allow it."""
        # Long sequences go through kernels that want their rows side by side.
        is_short = micro_batch["max_seqlen"] <= MAX_DENSE_LENGTH
        return self.pack(micro_batch, is_short and self.shares_prefixes, is_dummy)

    def outputs_of(
        self, inputs: PackedInputs, num_tokens: int, temperature: float, with_entropy: bool
    ) -> tuple[Tensor, ...]:
        """What a loss gets before the micro-batch: log-probs (and entropies if asked for) `[T]`, or a critic's values.

        Prediction aligned; the log-prob at the last token of each sequence is 0. `num_tokens` is T: `pack` may have added some.
        """
        logprobs, entropy = self.logprobs(inputs, temperature, with_entropy)
        logprobs = inputs.per_token(logprobs).masked_fill(~inputs.has_label, 0.0)[:num_tokens]
        return (logprobs,) if entropy is None else (logprobs, inputs.per_token(entropy)[:num_tokens])

    def pack(self, micro_batch: dict[str, Any], share_prefixes: bool, is_dummy: bool) -> PackedInputs:
        """The micro-batch as the model sees it; padding may stand behind its own tokens, and a dummy is nothing else."""
        return PackedInputs.of(micro_batch, self.device, share_prefixes)

    def clip_gradients(self, max_norm: float) -> float:
        """See `PackedModel`."""
        return clip_gradients([param.grad for param in self.module.parameters() if param.grad is not None], max_norm)

    def finish_step(self, successful: bool) -> dict[str, float]:
        """See `PackedModel`."""
        return {}

    def merge_stats(self, stats: dict[str, float]) -> dict[str, float]:
        """See `PackedModel`: ranks with the same data compute the same losses."""
        return stats
