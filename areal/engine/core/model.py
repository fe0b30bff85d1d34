# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What an engine supplies to the shared core: a built and parallelised model behind four groups of methods.

`areal.engine.core.engine` trains, saves and loads through this protocol alone; `fsdp_engine` implements it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from areal.models.packed_attention.layout import PackedLayout
from areal.models.packed_attention.sharing import find_shared_prefixes


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


class PackedModel(Protocol):
    """A causal LM on this rank's device, sharded as its engine likes."""

    module: nn.Module
    """Holds the parameters; their names are stable over any number of ranks."""
    hidden_matrices: set[str]
    """Names of the 2-D parameters between embedding and head, which Muon may orthogonalise."""

    @property
    def shares_prefixes(self) -> bool:
        """Whether sequences of a micro-batch may share rows (`PackedInputs` with `prediction_rows`)."""
        ...

    def logprobs(self, inputs: PackedInputs, temperature: float, with_entropy: bool) -> tuple[Tensor, Tensor | None]:
        """Log-probs of the labels and entropies, float32 `[U]`; collective where parameters are sharded."""
        ...

    def set_gradient_sync(self, is_last: bool) -> None:
        """Told before each forward whether its backward is the last one of the step, which must leave gradients reduced."""
        ...

    def must_run_in_step(self) -> bool:
        """Whether all ranks must run the same forwards and backwards, because these contain collectives."""
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
