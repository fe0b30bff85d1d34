# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What an engine supplies to the shared core: a built and parallelised model behind `PackedModel`.

`areal.engine.core.engine` trains, saves and loads through this protocol alone. Models whose micro-batches run one after
another derive from `core.sequential.SequentialModel`; a pipelined one implements the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from areal.api.cli_args import MicroBatchSpec
from areal.api.engine_api import LossFn
from areal.models.packed_attention.layout import PackedLayout
from areal.models.packed_attention.sharing import find_shared_prefixes
from areal.utils.data import MicroBatchList


@dataclass(frozen=True)
class PackedInputs:
    """A packed micro-batch of T tokens as the model sees it: R rows of the sequences of `layout`, and U predictions.

    Without shared prefixes R = U = T. `labels[u]` is the token after prediction u; the last token of each sequence has none
    (`has_label` `[T]` False).
    """

    input_ids: Tensor
    labels: Tensor
    has_label: Tensor
    layout: PackedLayout
    prediction_rows: Tensor | None = None
    """int64 `[U]`: the row each prediction is made from; None when it is the row of the same index."""
    prediction_of: Tensor | None = None
    """int64 `[T]`: the prediction of each token."""
    num_real: int | None = None
    """Rows that are tokens of the batch; those behind them are padding. None: all are."""

    @classmethod
    def of(cls, micro_batch: dict[str, Any], device: torch.device, share_prefixes: bool = False) -> PackedInputs:
        """From a packed dict with `input_ids` `[T]` and `cu_seqlens` `[n + 1]`."""
        seq_lens = micro_batch["cu_seqlens"].diff().tolist()
        input_ids = micro_batch["input_ids"].to(device, torch.long)
        has_label = torch.ones_like(input_ids, dtype=torch.bool)
        has_label[micro_batch["cu_seqlens"][1:].to(device, torch.long) - 1] = False
        labels = input_ids.roll(-1).masked_fill(~has_label, 0)
        shared = find_shared_prefixes(input_ids, tuple(seq_lens)) if share_prefixes else None
        if shared is None:
            return cls(input_ids, labels, has_label, PackedLayout.from_lengths(seq_lens, device))
        return cls(
            input_ids[shared.first_tokens.to(device)],
            labels[shared.prediction_tokens.to(device)],
            has_label,
            PackedLayout.from_lengths(seq_lens, device, shared),
            shared.token_rows[shared.prediction_tokens].to(device),
            shared.prediction_of.to(device),
        )

    def per_token(self, predictions: Tensor) -> Tensor:
        """Values of the predictions `[U]` at every token `[T]`."""
        return predictions if self.prediction_of is None else predictions.index_select(0, self.prediction_of)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a step computes: the sum over micro-batches i and ranks of L_i · w_i / W; see `accumulate`.

    `weights` is float64 `[n]` on the CPU, `total_weight` is W. A critic's loss gets `(values, micro_batch)`.
    """

    micro_batches: MicroBatchList
    loss_fn: LossFn
    weights: Tensor
    total_weight: float
    temperature: float


class PackedModel(Protocol):
    """A causal LM on this rank's device, sharded as its engine likes. Ranks with the same data call all of it together."""

    module: nn.Module
    """Holds this rank's parameters; their names are stable over any number of ranks."""
    hidden_matrices: set[str]
    """Names of the 2-D parameters between embedding and head, which Muon may orthogonalise."""

    @property
    def num_parameters(self) -> int:
        """Parameters of the whole model, shared ones counted once."""
        ...

    @property
    def max_positions(self) -> int | None:
        """Longest sequence it can place, in tokens; None where any length will do."""
        ...

    def micro_batch_spec(self, spec: MicroBatchSpec) -> MicroBatchSpec:
        """How batches have to be cut for this model: `spec`, or more micro-batches."""
        ...

    def forward_backward(self, objective: Objective) -> Tensor:
        """Accumulate gradients of the objective (or, without gradients enabled, only compute it).

        Returns the part of this rank's data: a detached float64 scalar, equal on all ranks with the same data.
        """
        ...

    def forward(self, micro_batches: MicroBatchList, temperature: float) -> list[Tensor]:
        """Log-probs of the next token (critic: values) `[T]` of every micro-batch but dummies, without gradients."""
        ...

    def clip_gradients(self, max_norm: float) -> float:
        """Scale all gradients to a global norm of at most `max_norm`; returns the norm before, equal on all ranks."""
        ...

    def finish_step(self, successful: bool) -> dict[str, float]:
        """Called once after each optimizer step; returns statistics of it, equal on all ranks."""
        ...

    def merge_stats(self, stats: dict[str, float]) -> dict[str, float]:
        """Statistics of a rank, already reduced over the data, with those of others that work on the same data."""
        ...

    def state_iter(self) -> Iterator[tuple[str, Tensor]]:
        """HF names and full CPU tensors in the compute dtype, tied ones once; collective, safe to leave early."""
        ...

    def load_hf(self, path: str) -> None:
        """Replace all weights by those of a `from_pretrained` directory; collective."""
        ...

    def save_hf_configs(self, folder: Path) -> None:
        """Write `config.json` and `generation_config.json`; rank 0 only."""
        ...
