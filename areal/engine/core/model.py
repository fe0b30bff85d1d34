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


@dataclass(frozen=True)
class PackedInputs:
    """A packed micro-batch as the model sees it: T tokens of the sequences of `layout`.

    `labels[t]` is token t + 1 of the same sequence; the last token of each sequence has none (`has_label` False).
    """

    input_ids: Tensor
    labels: Tensor
    has_label: Tensor
    layout: PackedLayout

    @classmethod
    def of(cls, micro_batch: dict[str, Any], device: torch.device) -> PackedInputs:
        """From a packed dict with `input_ids` `[T]` and `cu_seqlens` `[n + 1]`."""
        layout = PackedLayout.from_lengths(micro_batch["cu_seqlens"].diff().tolist(), device)
        input_ids = micro_batch["input_ids"].to(device, torch.long)
        has_label = torch.ones_like(input_ids, dtype=torch.bool)
        has_label[layout.cu_seqlens[1:].long() - 1] = False
        labels = input_ids.roll(-1).masked_fill(~has_label, 0)
        return cls(input_ids, labels, has_label, layout)


class PackedModel(Protocol):
    """A causal LM on this rank's device, sharded as its engine likes."""

    module: nn.Module
    """Holds the parameters; their names are stable over any number of ranks."""
    hidden_matrices: set[str]
    """Names of the 2-D parameters between embedding and head, which Muon may orthogonalise."""

    def logprobs(self, inputs: PackedInputs, temperature: float, with_entropy: bool) -> tuple[Tensor, Tensor | None]:
        """Log-probs of the labels and entropies, float32 `[T]`; collective where parameters are sharded."""
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
