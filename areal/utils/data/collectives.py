# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""Nested containers of tensors between devices and between ranks.

Called by training engines. The collectives send the structure as an object first, so ranks need not agree on keys, lengths
or shapes beforehand. Every rank of the group must call them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def tensor_container_to(container: Any, *args: Any, **kwargs: Any) -> Any:
    """`tensor.to(*args, **kwargs)` for every tensor in nested dicts, lists and tuples (tuples become lists)."""
    return _map_tensors(container, lambda tensor: tensor.to(*args, **kwargs))


def broadcast_tensor_container(container: Any, src_rank: int = 0, group: dist.ProcessGroup | None = None) -> Any:
    """The container of global rank `src_rank`, on every rank of `group`; the others may pass anything.

    Tensors arrive on the group's device (CPU for gloo, the current CUDA device for NCCL); other leaves must pickle.
    """
    is_source = dist.get_rank() == src_rank
    device = _group_device(group)
    tensors: list[Tensor] = []
    skeleton = [_strip(container, tensors) if is_source else None]
    dist.broadcast_object_list(skeleton, src=src_rank, group=group, device=device)
    if is_source:
        for tensor in tensors:
            dist.broadcast(tensor.detach().to(device).contiguous(), src=src_rank, group=group)
        return container

    def receive(leaf: _TensorLeaf) -> Tensor:
        tensor = torch.empty(leaf.shape, dtype=leaf.dtype, device=device)
        dist.broadcast(tensor, src=src_rank, group=group)
        return tensor

    return _fill(skeleton[0], receive)


def all_gather_tensor_container(container: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """The containers of all ranks of `group`, in rank order; they may differ in structure and shapes."""
    ranks = dist.get_process_group_ranks(group if group is not None else dist.group.WORLD)
    return [broadcast_tensor_container(container, src_rank, group) for src_rank in ranks]


@dataclass(frozen=True)
class _TensorLeaf:
    """Stands for a tensor in a container that travels as an object."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def _strip(container: Any, tensors: list[Tensor]) -> Any:
    def take(tensor: Tensor) -> _TensorLeaf:
        tensors.append(tensor)
        return _TensorLeaf(tuple(tensor.shape), tensor.dtype)

    return _map_tensors(container, take)


def _map_tensors(container: Any, fn: Callable[[Tensor], Any]) -> Any:
    return _map_leaves(container, Tensor, fn)


def _fill(skeleton: Any, fn: Callable[[_TensorLeaf], Tensor]) -> Any:
    return _map_leaves(skeleton, _TensorLeaf, fn)


def _map_leaves(container: Any, leaf_type: type, fn: Callable[[Any], Any]) -> Any:
    if isinstance(container, leaf_type):
        return fn(container)
    if isinstance(container, Mapping):
        return {key: _map_leaves(value, leaf_type, fn) for key, value in container.items()}
    if isinstance(container, (list, tuple)):
        return [_map_leaves(value, leaf_type, fn) for value in container]
    return container


def _group_device(group: dist.ProcessGroup | None) -> torch.device:
    if dist.get_backend(group) == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
