# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Where the rows of an expert are computed: the seam between the mathematics of `MoE` and expert parallelism.

`MoE` hands its rows, sorted by expert, to a dispatcher and gets those of the experts that this rank holds; `parallel`
replaces the dispatcher by one that exchanges rows between ranks. A dispatcher keeps nothing between its two calls: micro-batches
may overlap and activation checkpointing calls it again. Dimensions: R rows, E hidden width, X experts.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class TokenDispatcher(Protocol):
    """Brings rows to their experts and the results back. Differentiable; zero rows, here or elsewhere, are a normal case."""

    def dispatch(self, rows_RE: Tensor, counts_X: Tensor) -> tuple[Tensor, Tensor, Any]:
        """Rows of the local experts, sorted by expert, their number for each local expert, and what `combine` needs.

        Args:
            rows_RE: rows of this rank's tokens, sorted by expert.
            counts_X: int64, rows of each expert of the model; sums to R.
        """

    def combine(self, rows: Tensor, state: Any) -> Tensor:
        """The results `[R, E]` of this rank's rows, in the order in which `dispatch` got them.

        Args:
            rows: results of the local experts, in the order of `dispatch`'s rows.
            state: third result of `dispatch`.
        """


class LocalDispatcher:
    """All experts are here."""

    def dispatch(self, rows_RE: Tensor, counts_X: Tensor) -> tuple[Tensor, Tensor, None]:
        """See `TokenDispatcher`."""
        return rows_RE, counts_X, None

    def combine(self, rows: Tensor, state: None) -> Tensor:
        """See `TokenDispatcher`."""
        return rows
