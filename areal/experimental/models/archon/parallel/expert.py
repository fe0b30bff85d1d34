# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Expert parallelism: experts spread over ranks, rows of tokens exchanged; and experts cut inside (ETP). Second step.

Under sequence parallelism each tensor-parallel rank holds other tokens, so that experts may be spread over those ranks too: each
sends its own rows. ETP gathers the rows of its ranks first, and sums and scatters their partial results.
Dimensions: R rows of this rank, E hidden width, X experts, Y experts of a rank, P ranks of `ep`, S ranks of `etp`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Placement, Replicate, Shard

from areal.experimental.models.archon.model import ArchonModel
from areal.experimental.models.archon.moe.moe import MoE, moe_layers
from areal.experimental.models.archon.parallel.collectives import (
    all_gather,
    exchange_counts,
    exchange_rows,
    gather_parts,
    scatter_sum,
    sum_gradient,
)
from areal.experimental.models.archon.parallel.dims import ArchonParallelDims
from areal.experimental.models.archon.parallel.local_view import View, cut_parameter, identity, view_parameters

# Dimension that expert tensor parallelism cuts: the inner width.
_INNER_DIMS = {"w1": 1, "w3": 1, "w2": 2, "b1": 1, "b3": 1}


def apply_expert_parallel(model: ArchonModel, dims: ArchonParallelDims) -> None:
    """Cut the experts of all layers and let their rows travel, in place; nothing where no axis has several ranks."""
    axes = tuple(axis for axis, size in (("ep", dims.ep), ("etp", dims.expert_tp)) if size > 1)
    if not axes:
        return
    mesh = dims.meshes.sparse[axes]
    ep_group = dims.get_group("ep") if "ep" in axes else None
    etp_group = dims.get_group("etp") if "etp" in axes else None
    # One object for all layers: their modules share a class then.
    whole_view: View = identity if etp_group is None else partial(sum_gradient, group=etp_group)
    for moe in moe_layers(model).values():
        _cut_experts(moe, mesh, axes, whole_view)
        moe.dispatcher = RankDispatcher(ep_group, etp_group)
        moe.experts.num_partial_sums = dims.expert_tp


def _cut_experts(moe: MoE, mesh: DeviceMesh, axes: tuple[str, ...], whole_view: View) -> None:
    """`whole_view`: of parameters that expert tensor parallelism leaves whole."""
    views: dict[str, View] = {}
    for name, _ in list(moe.experts.named_parameters(recurse=False)):
        inner = _INNER_DIMS.get(name)
        by_axis: dict[str, Placement] = {"ep": Shard(0), "etp": Replicate() if inner is None else Shard(inner)}
        cut_parameter(moe.experts, name, mesh, tuple(by_axis[axis] for axis in axes))
        views[name] = whole_view if inner is None else identity
    view_parameters(moe.experts, mesh, views)


class _Journey(NamedTuple):
    """How to bring results back: the order in which rows left, the counts of the exchange, the order in which they came."""

    departure: _Order
    sent: list[int]
    received: list[int]
    arrival: _Order


class RankDispatcher:
    """A `TokenDispatcher` over ranks that hold different experts (`ep`) or parts of the same ones (`etp`)."""

    def __init__(self, ep_group: ProcessGroup | None, etp_group: ProcessGroup | None) -> None:
        self._ep_group = ep_group
        self._etp_group = etp_group

    def dispatch(self, rows_RE: Tensor, counts_X: Tensor) -> tuple[Tensor, Tensor, _Journey]:
        """See `TokenDispatcher`. One synchronisation with the host where experts are spread."""
        counts_SX = counts_X.unsqueeze(0)
        if self._etp_group is not None:
            rows_RE = gather_parts(rows_RE, self._etp_group)
            counts_SX = all_gather(counts_SX, self._etp_group)
        departure = _Order.by_column(counts_SX, rows_RE.shape[0])
        rows_RE = departure.apply(rows_RE)
        counts_X = counts_SX.sum(0)
        if self._ep_group is None:
            return rows_RE, counts_X, _Journey(departure, [], [], departure)
        sent_PY = counts_X.unflatten(0, (self._ep_group.size(), -1))
        received_PY = exchange_counts(sent_PY, self._ep_group)
        sent, received = torch.stack((sent_PY.sum(1), received_PY.sum(1))).tolist()
        rows = exchange_rows(rows_RE, received, sent, self._ep_group)
        arrival = _Order.by_column(received_PY, rows.shape[0])
        return arrival.apply(rows), received_PY.sum(0), _Journey(departure, sent, received, arrival)

    def combine(self, rows: Tensor, state: _Journey) -> Tensor:
        """See `TokenDispatcher`."""
        if self._ep_group is not None:
            rows = exchange_rows(state.arrival.undo(rows), state.sent, state.received, self._ep_group)
        rows = state.departure.undo(rows)
        return rows if self._etp_group is None else scatter_sum(rows, self._etp_group)


class _Order(NamedTuple):
    """A permutation of rows and its inverse; None: rows stay."""

    forth: Tensor | None
    back: Tensor | None

    @classmethod
    def by_column(cls, counts_AB: Tensor, num_rows: int) -> _Order:
        """From rows in order (a, b), of which there are counts[a, b], to rows in order (b, a)."""
        num_groups, num_columns = counts_AB.shape
        if num_groups == 1:
            return cls(None, None)
        column_AB = torch.arange(num_columns, device=counts_AB.device).repeat(num_groups)
        column_R = column_AB.repeat_interleave(counts_AB.flatten(), output_size=num_rows)
        forth = column_R.argsort(stable=True)
        back = torch.empty_like(forth).scatter_(0, forth, torch.arange(num_rows, device=forth.device))
        return cls(forth, back)

    def apply(self, rows: Tensor) -> Tensor:
        """Rows in the new order."""
        return rows if self.forth is None else _Permute.apply(rows, self.forth, self.back)

    def undo(self, rows: Tensor) -> Tensor:
        """Rows in the old order."""
        return rows if self.forth is None else _Permute.apply(rows, self.back, self.forth)


class _Permute(torch.autograd.Function):
    """A gather in both directions: no atomics, the same bits in every run."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, forth: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return rows.index_select(0, forth)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return grad.index_select(0, back), None, None
