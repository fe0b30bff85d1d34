# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""What the scheduler needs of a model: a batch of rows with cached context that steps together.

Two implementations pass the same contract tests: `ArchonRunner` (our decoder, fast) and `HFRunner` (any HF causal LM,
plain). All methods but `read_weights` are called by the one thread that owns the engine's state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """A computed prompt: its tokens, the fp32 logits `[V]` after it, and the runner's own cache tensors.

    Prompts computed in one call may be views of one block of memory, which lives as long as any of them.
    """

    tokens: tuple[int, ...]
    logits: Tensor
    kv: tuple[Tensor, ...]

    @property
    def size_bytes(self) -> int:
        """Memory it holds."""
        return sum(t.numel() * t.element_size() for t in (self.logits, *self.kv))


@dataclass(frozen=True, kw_only=True)
class PreparedWeights:
    """Weights read, checked and converted, ready to be applied. `checksum` is of the HF tensors, see `utils.checksum`."""

    payload: Any
    checksum: str


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Facts of the served model for clients and logs. `fallback` tells why it is not run by Archon, if it is not."""

    model_type: str
    runner: str
    fallback: str | None
    vocab_size: int
    max_positions: int
    num_params: int
    dtype: str
    device: str
    eos_token_ids: tuple[int, ...]
    config: dict[str, Any]


class Runner(Protocol):
    """A batch of rows 0..R-1. Row order is the scheduler's: rows join at the end and are reordered by `retain`."""

    info: ModelInfo
    device: torch.device
    checksum: str

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> list[Prefix]:
        """Compute prompts (different lengths, each at least one token) under the current weights."""
        ...

    def append(self, prefixes: Sequence[Prefix]) -> None:
        """New last rows, one a prefix; the same prefix may be given many times."""
        ...

    def decode(self, tokens_R: Tensor) -> Tensor:
        """Append one int64 token to every row; fp32 logits `[R, V]` after it."""
        ...

    def retain(self, order: Sequence[int]) -> None:
        """The new row i is the old row `order[i]`; rows not named are dropped. Never names a row twice."""
        ...

    def rebuild(self, prefixes: Sequence[Prefix], suffixes: Sequence[Sequence[int]]) -> None:
        """Replace all rows: row i holds prefix i and then the tokens of suffix i, computed under the current weights."""
        ...

    def read_weights(self, directory: Path) -> PreparedWeights:
        """Check and read a checkpoint without touching the model (any thread); raises `CheckpointError`."""
        ...

    def apply_weights(self, weights: PreparedWeights) -> None:
        """Take over prepared weights. Cached context is stale until `rebuild`."""
        ...
