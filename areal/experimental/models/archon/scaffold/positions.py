# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Recognises learned positions: rows of a second embedding that are added to those of the tokens.

Called by `observe`. Dimensions: T tokens, E hidden width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from areal.experimental.models.archon.scaffold.dataflow import is_multiple, mismatch, rows, same
from areal.experimental.models.archon.scaffold.findings import Unexplained
from areal.experimental.models.archon.scaffold.hf_model import Call, Trace


@dataclass(frozen=True)
class FittedPositions:
    """The table of positions, the row of position 0 in it, and what the first block reads less the positions."""

    weight: Tensor
    offset: int
    rest: Tensor


def fit_positions(
    trace: Trace, x: Tensor, table: Tensor, max_positions: Callable[[], int | None]
) -> FittedPositions | None:
    """Learned positions in what the first block reads, `[T, E]`; None when there are none.

    table: rows of the token embedding. `Unexplained` when the table does not have `max_positions` rows from position 0 on.
    """
    tokens = trace.model.get_input_embeddings()
    for call in trace.calls:
        if not isinstance(call.module, nn.Embedding) or call.module is tokens or rows(call.y).shape != x.shape:
            continue
        rest = x - rows(call.y)
        if not is_multiple(rest, table):
            continue
        weight = call.module.weight.detach()
        offset = _offset(call, weight, len(x))
        if weight.shape[0] - offset != max_positions():
            raise Unexplained(
                call.name,
                f"has {weight.shape[0]} rows for {max_positions()} positions (max_position_embeddings) from row {offset} on",
            )
        return FittedPositions(weight, offset, rest)
    return None


def what_else(trace: Trace, embedding: Call, x: Tensor, table: Tensor) -> str:
    """What the first block reads besides a multiple of the embeddings, as far as it can be told."""
    if x.shape != table.shape:
        if x.shape[-1] == table.shape[-1]:
            streams = f"{x.shape[0] / table.shape[0]:g} streams (rows) a token"
            return f"the first block reads {streams}, its embeddings are one: the residual stream is not a single one"
        return f"the first block reads {x.shape[-1]} channels a token, its embeddings have {table.shape[-1]}"
    others = [
        f"{call.name} ({type(call.module).__name__})"
        for call in trace.calls
        if call.module is not embedding.module and call.y.numel() and rows(call.y).shape[-1] == x.shape[-1]
        if "." not in call.name.removeprefix(embedding.name.rpartition(".")[0]).strip(".")
    ][:4]
    what = "the first block reads something else than embeddings of tokens, times a factor, plus learned positions"
    return f"{what}; modules beside the embedding: {', '.join(others)}" if others else what


def _offset(call: Call, weight: Tensor, num_tokens: int) -> int:
    """The row of position 0."""
    seen = rows(call.y)
    for first in range(weight.shape[0] - num_tokens + 1):
        if torch.equal(weight[first : first + num_tokens], seen) or same(weight[first : first + num_tokens], seen):
            return first
    raise Unexplained(
        call.name, "is added to the embeddings, but not by position", {"rows in order": mismatch(weight[:1], seen)}
    )
