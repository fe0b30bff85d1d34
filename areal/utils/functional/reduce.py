# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Sums over ranks that every rank joins, for statistics of a few numbers; without a process group they do nothing."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def all_reduced(x: Tensor, group: dist.ProcessGroup | None = None, op: dist.ReduceOp.RedOpType | None = None) -> Tensor:
    """`x` reduced over the ranks of `group` (None: the default group), on the device of `x`.

    A collective: every rank of the group must call it, whatever its own data (one that leaves early hangs the others).
    `op` defaults to SUM. Returns a new tensor; returns `x` itself in a run without `torch.distributed`.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return x
    buffer = x.detach().clone()
    if dist.get_backend(group) == "nccl":
        buffer = buffer.cuda()
    dist.all_reduce(buffer, op=dist.ReduceOp.SUM if op is None else op, group=group)
    return buffer.to(x.device)
