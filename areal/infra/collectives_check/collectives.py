# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""One small run of each collective that training uses, its result compared with what it must be.

Values are small integers, so that sums are exact in float32. Each function takes a group of which this rank is a member.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

from areal.experimental.models.archon.parallel.collectives import (
    all_gather,
    exchange_blocks,
    exchange_counts,
    exchange_rows,
    gather_parts,
    scatter_sum,
)

NUM_VALUES = 4096  # a row: large enough to take the path of real messages, small enough to cost nothing


class WrongResult(Exception):
    """A collective came back with other values than it must."""


def _rows(values: list[float], device: str) -> Tensor:
    return torch.tensor(values, device=device)[:, None].expand(-1, NUM_VALUES).contiguous()


def _expect(found: Tensor, values: list[float], device: str) -> None:
    expected = _rows(values, device)
    if found.shape != expected.shape or not torch.equal(found, expected):
        got = found[:, 0].tolist() if found.dim() == 2 else found.shape
        raise WrongResult(f"expected rows {values}, got {got}")


def _ranks(group: ProcessGroup) -> list[float]:
    return [float(rank + 1) for rank in range(group.size())]


def barrier(group: ProcessGroup, device: str) -> None:
    """Everyone arrives."""
    dist.barrier(group=group)


def all_reduce_sum(group: ProcessGroup, device: str) -> None:
    """Denominators and gradient norms."""
    x = _rows([group.rank() + 1.0], device)
    dist.all_reduce(x, group=group)
    _expect(x, [sum(_ranks(group))], device)


def all_reduce_max(group: ProcessGroup, device: str) -> None:
    """The longest micro-batch; the stable log-softmax over a cut vocabulary."""
    x = _rows([group.rank() + 1.0], device)
    dist.all_reduce(x, dist.ReduceOp.MAX, group=group)
    _expect(x, [float(group.size())], device)


def broadcast(group: ProcessGroup, device: str) -> None:
    """Weights from the rank that holds them."""
    x = _rows([group.rank() + 7.0], device)
    dist.broadcast(x, group_src=group.size() - 1, group=group)
    _expect(x, [group.size() + 6.0], device)


def broadcast_object(group: ProcessGroup, device: str) -> None:
    """Decisions of the first rank."""
    box = [{"rank": group.rank()}]
    dist.broadcast_object_list(box, src=dist.get_global_rank(group, 0), group=group)
    if box != [{"rank": 0}]:
        raise WrongResult(f"expected the object of rank 0, got {box}")


def all_gather_object(group: ProcessGroup, device: str) -> None:
    """Statistics, and the errors of all ranks."""
    found: list[int | None] = [None] * group.size()
    dist.all_gather_object(found, group.rank(), group=group)
    if found != list(range(group.size())):
        raise WrongResult(f"expected {list(range(group.size()))}, got {found}")


def gather(group: ProcessGroup, device: str) -> None:
    """Sharded parameters before their layer."""
    _expect(all_gather(_rows([group.rank() + 1.0], device), group), _ranks(group), device)


def reduce_scatter(group: ProcessGroup, device: str) -> None:
    """Gradients to their shard."""
    own = scatter_sum(_rows(_ranks(group), device), group)
    _expect(own, [(group.rank() + 1.0) * group.size()], device)


def gather_backward(group: ProcessGroup, device: str) -> None:
    """A gather whose gradient is a reduce-scatter, as sequence parallelism has it."""
    x = _rows([group.rank() + 1.0], device).requires_grad_()
    weights = _rows(_ranks(group), device)
    (gather_parts(x, group) * weights).sum().backward()
    assert x.grad is not None
    _expect(x.grad, [(group.rank() + 1.0) * group.size()], device)


def all_to_all(group: ProcessGroup, device: str) -> None:
    """Heads for tokens under context parallelism."""
    sent = _rows([group.rank() * 10.0 + rank for rank in range(group.size())], device)
    _expect(exchange_blocks(sent, group), [rank * 10.0 + group.rank() for rank in range(group.size())], device)


def all_to_all_uneven(group: ProcessGroup, device: str) -> None:
    """Rows to experts: rank i sends j + 1 rows to rank j, after telling how many."""
    size, own = group.size(), group.rank()
    counts = torch.arange(1, size + 1, device=device)
    received = exchange_counts(counts, group).tolist()
    if received != [own + 1] * size:
        raise WrongResult(f"expected counts {[own + 1] * size}, got {received}")
    sent = _rows([float(own)] * int(counts.sum()), device)
    found = exchange_rows(sent, received, counts.tolist(), group)
    _expect(found, [float(rank) for rank in range(size) for _ in range(own + 1)], device)


def send_recv(group: ProcessGroup, device: str) -> None:
    """Hidden states from stage to stage, in a ring."""
    size, own = group.size(), group.rank()
    sent, received = _rows([own + 1.0], device), _rows([0.0], device)
    to, source = dist.get_global_rank(group, (own + 1) % size), dist.get_global_rank(group, (own - 1) % size)
    work = dist.batch_isend_irecv(
        [
            dist.P2POp(dist.isend, sent, to, group),
            dist.P2POp(dist.irecv, received, source, group),
        ]
    )
    for item in work:
        item.wait()
    _expect(received, [(own - 1) % size + 1.0], device)


COLLECTIVES: dict[str, Callable[[ProcessGroup, str], None]] = {
    "barrier": barrier,
    "all_reduce_sum": all_reduce_sum,
    "all_reduce_max": all_reduce_max,
    "broadcast": broadcast,
    "broadcast_object": broadcast_object,
    "all_gather_object": all_gather_object,
    "all_gather": gather,
    "reduce_scatter": reduce_scatter,
    "gather_backward": gather_backward,
    "all_to_all": all_to_all,
    "all_to_all_uneven": all_to_all_uneven,
    "send_recv": send_recv,
}
