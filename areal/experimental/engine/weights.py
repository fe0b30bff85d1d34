# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
"""HF weight files into the parameters of an Archon model, and out of them, one group of tensors at a time.

Called by `ArchonEngine` on all ranks. Reading fails closed: names, shapes and dtypes of the whole checkpoint are checked from
the file headers before any parameter changes, and none is left as it was. Never holds more than one group of full tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from areal.experimental.models.archon.weights.adapter import StateDictAdapter, text_name
from areal.experimental.models.archon.weights.map import Entry
from areal.utils.weight_files import TensorReader, check_headers, read_headers


def load_weights(state: Mapping[str, Tensor], adapter: StateDictAdapter, directory: Path) -> None:
    """Fill `state` (live parameters and buffers of this rank by our names, whole or sharded) from a HF directory.

    `CheckpointError` when a tensor of the model is missing, misshaped or of no float type, or one of the files has no
    place in it; nothing has changed then. Parameters that the adapter calls optional keep their values.
    """
    headers = read_headers(directory)
    file_names = {text_name(name): name for name in headers}
    by_text_name = {text: headers[name] for text, name in file_names.items()}
    entries = adapter.weight_map.plan(by_text_name, only=frozenset(state))
    check_headers(by_text_name, {name: shape for entry in entries for name, shape in _hf_shapes(entry).items()})

    with TensorReader(headers) as reader:

        def read(names: Iterable[str]) -> dict[str, Tensor]:
            tensors = reader.read(file_names[name] for name in names)
            return {text_name(name): tensor for name, tensor in tensors.items()}

        for pair in adapter.weight_map.tied_pairs(by_text_name):
            adapter.weight_map.check_tied(read(pair))
        for entry in entries:
            for name, full in entry.to_ours(read(entry.hf)).items():
                copy_full(state[name], full)


@torch.no_grad()
def copy_full(target: Tensor, full: Tensor) -> None:
    """Copy a full tensor, equal on all ranks, into a plain tensor or this rank's shards of a DTensor."""
    if not isinstance(target, DTensor):
        target.copy_(full)
        return
    full = full.to(target.device, target.dtype)
    part = distribute_tensor(full, target.device_mesh, target.placements, src_data_rank=None)
    target.to_local().copy_(part.to_local())


def iterate_hf_weights(
    adapter: StateDictAdapter, gather: Callable[[str], Tensor], dtype: torch.dtype, exact: frozenset[str]
) -> Iterator[tuple[str, Tensor]]:
    """HF names and full CPU tensors in the order of the adapter; those of `exact` (our names) keep their dtype.

    `gather(name)` gives a full tensor of ours and is collective: a consumer that stops early leaves no rank waiting, because
    the remaining gathers still run when the iterator is closed.
    """
    remaining = iter(adapter.groups())

    def gathered(entry: Entry) -> dict[str, Tensor]:
        return {name: _to_cpu(gather(name), None if name in exact else dtype) for name in entry.ours}

    try:
        for entry in remaining:
            yield from entry.to_hf(gathered(entry)).items()
    finally:
        for entry in remaining:
            for name in entry.ours:
                gather(name)


def full_tensor(tensor: Tensor) -> Tensor:
    """The whole of a plain or sharded tensor; collective over its mesh."""
    detached = tensor.detach()
    return detached.full_tensor() if isinstance(detached, DTensor) else detached


def _to_cpu(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    # A copy: the next update must not change what a consumer holds.
    return tensor.to("cpu", tensor.dtype if dtype is None else dtype, copy=True)


def _hf_shapes(entry: Entry) -> dict[str, tuple[int, ...]]:
    meta = {name: torch.empty(shape, device="meta") for name, shape in zip(entry.ours, entry.shapes, strict=True)}
    return {name: tuple(tensor.shape) for name, tensor in entry.to_hf(meta).items()}
