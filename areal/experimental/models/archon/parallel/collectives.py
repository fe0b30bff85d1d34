# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Collectives with the gradients that tensor, context and expert parallelism need, on local tensors along dim 0.

Two kinds of gradient meet a gather. Where ranks go on with different parts of the model, each has a part of the gradient,
and the parts are summed (`gather_parts`); where they go on with the same computation, each has all of it, and takes its
own rows (`gather_same`). The functional operators are used, because compilers and selective checkpointing know those by name.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.distributed._functional_collectives  # registers the operators
from torch import Tensor
from torch.distributed import ProcessGroup

_ops = torch.ops._c10d_functional


def gather_parts(x: Tensor, group: ProcessGroup) -> Tensor:
    """Rows of all ranks, for computations that differ by rank: the gradient is summed over ranks, then cut."""
    return _Gather.apply(x, group, True)


def gather_same(x: Tensor, group: ProcessGroup) -> Tensor:
    """Rows of all ranks, for a computation that is the same on each: the gradient is cut."""
    return _Gather.apply(x, group, False)


def scatter_sum(x: Tensor, group: ProcessGroup) -> Tensor:
    """Own rows of the sum over ranks; the gradient is gathered."""
    return _ScatterSum.apply(x, group)


def own_rows(x: Tensor, group: ProcessGroup) -> Tensor:
    """Own rows of a tensor that all ranks have; the gradient is gathered, so that all ranks have all of it."""
    return _OwnRows.apply(x, group)


def sum_gradient(x: Tensor, group: ProcessGroup) -> Tensor:
    """The tensor itself; its gradient is summed over ranks (a parameter that each applies to other tokens or heads)."""
    return _SumGradient.apply(x, group)


def share(x: Tensor, num_ranks: int) -> Tensor:
    """1/num_ranks of a tensor whose shares are summed later; its gradient is that of the whole, which every rank has."""
    return _Share.apply(x, num_ranks)


def all_reduce_sum(x: Tensor, group: ProcessGroup) -> Tensor:
    """Sum over ranks, which go on with different parts of the model: the gradient is summed as well."""
    return _AllReduce.apply(x, group)


def exchange_rows(x: Tensor, output_counts: list[int], input_counts: list[int], group: ProcessGroup) -> Tensor:
    """All-to-all of rows; the gradient goes back the same way."""
    return _ExchangeRows.apply(x, output_counts, input_counts, group)


def all_gather(x: Tensor, group: ProcessGroup) -> Tensor:
    """Rows of all ranks, without gradient."""
    return _wait(_ops.all_gather_into_tensor(x.contiguous(), group.size(), group.group_name))


def exchange_blocks(x: Tensor, group: ProcessGroup) -> Tensor:
    """All-to-all of equal shares along dim 0; the gradient goes back the same way."""
    return _ExchangeRows.apply(x, None, None, group)


def exchange_counts(counts: Tensor, group: ProcessGroup) -> Tensor:
    """All-to-all of equal shares of an integer tensor along dim 0; no gradient."""
    received = torch.empty_like(counts)
    dist.all_to_all_single(received, counts.contiguous(), group=group)
    return received


def _reduce_scatter(x: Tensor, group: ProcessGroup) -> Tensor:
    _rows_of_rank(x, group)
    return _wait(_ops.reduce_scatter_tensor(x.contiguous(), "sum", group.size(), group.group_name))


def _all_reduce(x: Tensor, group: ProcessGroup) -> Tensor:
    return _wait(_ops.all_reduce(x.contiguous(), "sum", group.group_name))


def _all_to_all(
    x: Tensor, output_counts: list[int] | None, input_counts: list[int] | None, group: ProcessGroup
) -> Tensor:
    if output_counts is None or input_counts is None:
        output_counts = input_counts = [_rows_of_rank(x, group)] * group.size()
    return _wait(_ops.all_to_all_single(x.contiguous(), output_counts, input_counts, group.group_name))


def _wait(x: Tensor) -> Tensor:
    return _ops.wait_tensor(x)


def _own(x: Tensor, group: ProcessGroup) -> Tensor:
    rows = _rows_of_rank(x, group)
    return x.narrow(0, group.rank() * rows, rows).contiguous()


def _rows_of_rank(x: Tensor, group: ProcessGroup) -> int:
    if x.shape[0] % group.size():
        raise ValueError(
            f"expected a number of rows (tokens) divisible by the {group.size()} ranks of a group, got {x.shape[0]}; pad "
            "micro-batches to a multiple of ArchonParallelDims.seq_len_divisor"
        )
    return x.shape[0] // group.size()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup, sums: bool) -> Tensor:
        ctx.group, ctx.sums = group, sums
        return all_gather(x, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return (_reduce_scatter if ctx.sums else _own)(grad, ctx.group), None, None


class _ScatterSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return _reduce_scatter(x, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return all_gather(grad, ctx.group), None


class _OwnRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return _own(x, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return all_gather(grad, ctx.group), None


class _SumGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _all_reduce(grad, ctx.group), None


class _Share(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, num_ranks: int) -> Tensor:
        return x / num_ranks

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class _AllReduce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return _all_reduce(x, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _all_reduce(grad, ctx.group), None


class _ExchangeRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, output_counts: list[int], input_counts: list[int], group: ProcessGroup) -> Tensor:
        ctx.group, ctx.output_counts, ctx.input_counts = group, output_counts, input_counts
        return _all_to_all(x, output_counts, input_counts, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return _all_to_all(grad, ctx.input_counts, ctx.output_counts, ctx.group), None, None, None
